// SVG documents to PNG bytes.

import { Resvg } from '@resvg/resvg-js';

/** One SVG document to PNG bytes, `size` pixels wide (its own width when size is null), on white. */
export function svgToPng(svg, size = null) {
  const fitTo = size === null ? { mode: 'original' } : { mode: 'width', value: size };
  return new Resvg(svg, { fitTo, background: '#ffffff', font: { loadSystemFonts: false } }).render().asPng();
}

/** PNG bytes as an SVG element that covers width x height units. */
export function pngToImage(png, width, height) {
  return `<image width="${width}" height="${height}" href="data:image/png;base64,${png.toString('base64')}"/>`;
}

// Every style: a name, and how to load a function from a text seed to one SVG document.
// A style's package is imported only when it is asked for: starting the process is most of the cost of a small batch.

import { pngToImage, svgToPng } from './raster.mjs';

const DICEBEAR = [
  'adventurer', 'adventurer-neutral', 'big-ears', 'big-ears-neutral', 'big-smile', 'croodles', 'croodles-neutral',
  'dylan', 'fun-emoji', 'glass', 'icons', 'identicon', 'lorelei', 'lorelei-neutral', 'micah', 'miniavs', 'notionists',
  'notionists-neutral', 'open-peeps', 'personas', 'pixel-art', 'pixel-art-neutral', 'rings', 'shapes', 'thumbs',
  'toon-head',
];

// The palettes of boring-avatars' own playground; one is picked by the seed.
const BORING_PALETTES = [
  ['#0a0310', '#49007e', '#ff005b', '#ff7d10', '#ffb238'],
  ['#92a1c6', '#146a7c', '#f0ab3d', '#c271b4', '#c20d90'],
  ['#264653', '#2a9d8f', '#e9c46a', '#f4a261', '#e76f51'],
  ['#606c38', '#283618', '#fefae0', '#dda15e', '#bc6c25'],
  ['#cad7b2', '#ebe3aa', '#fbb39d', '#f1878f', '#e96d87'],
  ['#003049', '#d62828', '#f77f00', '#fcbf49', '#eae2b7'],
];

const dicebear = (style) => async () => {
  const [{ createAvatar }, artwork] = await Promise.all([import('@dicebear/core'), import(`@dicebear/${style}`)]);
  return (seed) => createAvatar(artwork, { seed }).toString();
};

const boring = (variant) => async () => {
  const [{ createElement }, { renderToStaticMarkup }, { default: Avatar }] = await Promise.all([
    import('react'),
    import('react-dom/server'),
    import('boring-avatars'),
  ]);
  return (seed) => {
    const colors = BORING_PALETTES[digest(seed) % BORING_PALETTES.length];
    return renderToStaticMarkup(createElement(Avatar, { name: seed, variant, colors, size: 80, square: true }));
  };
};

async function jdenticon() {
  const { toSvg } = await import('jdenticon');
  return (seed) => toSvg(seed, 128);
}

async function minidenticons() {
  const { minidenticon } = await import('minidenticons');
  return (seed) => minidenticon(seed).replace('<svg ', '<svg width="128" height="128" ');
}

// A geopattern is one tile of wallpaper whose size differs from pattern to pattern; the picture shows 240 units of
// wall. The tile is rasterised first: resvg 2.6 panics on half-transparent shapes that lie outside the picture.
async function geopattern() {
  const { default: GeoPattern } = await import('geopattern');
  return (seed) => {
    const tile = GeoPattern.generate(seed).toString();
    const [, width, height] = tile.match(/width="([\d.]+)" height="([\d.]+)"/);
    return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 240 240"><defs><pattern id="wall" width="${width}" `
      + `height="${height}" patternUnits="userSpaceOnUse">${pngToImage(svgToPng(tile, Math.ceil(width * 0.6)), width, height)}</pattern></defs>`
      + '<rect width="240" height="240" fill="url(#wall)"/></svg>';
  };
}

// FNV-1a: only spreads seeds over the palettes.
function digest(text) {
  let hash = 0x811c9dc5;
  for (const character of text) hash = Math.imul(hash ^ character.codePointAt(0), 0x01000193) >>> 0;
  return hash;
}

// Wide blurs are nine tenths of the cost of these two, and are the same at half the resolution.
export const SOFT = new Set(['glass', 'boring-marble']);

export const STYLES = {
  ...Object.fromEntries(DICEBEAR.map((style) => [style, dicebear(style)])),
  'boring-bauhaus': boring('bauhaus'),
  'boring-beam': boring('beam'),
  'boring-marble': boring('marble'),
  geopattern,
  jdenticon,
  minidenticons,
};

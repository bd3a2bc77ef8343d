// Draws pictures with one style: node draw.mjs --style adventurer --seed 7 --count 32 --size 128 --out DIR
// Picture i depends on the style, the seed and i alone. It is written to DIR/00000.png, DIR/00001.png ...

import { createHash } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { pngToImage, svgToPng } from './raster.mjs';
import { SOFT, STYLES } from './styles.mjs';

function fail(message) {
  console.error(`draw.mjs: ${message}`);
  process.exit(2);
}

function wholeNumber(name, text, least) {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < least) fail(`--${name} must be a whole number >= ${least}, got ${text}`);
  return value;
}

const { values } = parseArgs({
  options: {
    style: { type: 'string' },
    seed: { type: 'string', default: '0' },
    count: { type: 'string', default: '16' },
    size: { type: 'string', default: '128' },
    out: { type: 'string' },
  },
});
const style = values.style ?? '';
if (!Object.hasOwn(STYLES, style)) fail(`no style '${style}'; there are ${Object.keys(STYLES).join(', ')}`);
if (!values.out) fail('--out FOLDER is missing');
const seed = wholeNumber('seed', values.seed, 0);
const count = wholeNumber('count', values.count, 1);
const size = wholeNumber('size', values.size, 8);

const seedToSvg = await STYLES[style]();
mkdirSync(values.out, { recursive: true });
for (let index = 0; index < count; index += 1) {
  // Some generators hash their seed so weakly that "7-1" and "7-2" look alike.
  const svg = seedToSvg(createHash('sha256').update(`${seed}-${index}`).digest('hex').slice(0, 24));
  writeFileSync(join(values.out, `${String(index).padStart(5, '0')}.png`), SOFT.has(style) ? soft(svg) : svgToPng(svg, size));
}

function soft(svg) {
  const image = pngToImage(svgToPng(svg, Math.ceil(size / 2)), size, size);
  return svgToPng(`<svg xmlns="http://www.w3.org/2000/svg" width="${size}" height="${size}">${image}</svg>`, size);
}

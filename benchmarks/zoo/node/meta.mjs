// Prints who made each style and on what terms, as one JSON object: node meta.mjs

import { readFileSync } from 'node:fs';
import { STYLES } from './styles.mjs';

const packageOf = (style) => (style.startsWith('boring-') ? 'boring-avatars' : style);
const result = {};
for (const style of Object.keys(STYLES)) {
  try {
    const { meta } = await import(`@dicebear/${style}`);
    result[style] = { author: meta.creator, license: meta.license?.name, link: meta.source ?? meta.homepage };
  } catch {
    const about = JSON.parse(readFileSync(new URL(`node_modules/${packageOf(style)}/package.json`, import.meta.url)));
    const author = typeof about.author === 'string' ? about.author : about.author?.name;
    result[style] = { author: author?.replace(/\s*[<(].*$/, ''), license: about.license, link: about.homepage };
  }
}
console.log(JSON.stringify(result));

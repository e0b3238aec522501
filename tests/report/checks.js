// Returns what is wrong with the look of a page: [kind, text] pairs. It looks at what is laid out, also when folded
// parts are opened first.
(() => {
  const wrong = [];
  const say = (kind, text) => wrong.push([kind, String(text).trim().slice(0, 80)]);
  document.querySelectorAll('details').forEach(one => one.open = true);

  // Nothing is wider than the window, but for what lies in a box that scrolls.
  const wide = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth > wide) say('the page scrolls sideways', document.documentElement.scrollWidth);
  const scrolls = one => one && (one.scrollWidth > one.clientWidth && /auto|scroll/.test(getComputedStyle(one).overflowX)
                                 || scrolls(one.parentElement));

  // Every word is on one line; no text leaves its box or the window.
  const words = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const range = document.createRange();
  for (let node = words.nextNode(); node; node = words.nextNode()) {
    const parent = node.parentElement;
    if (parent.closest('svg, style, title') || !node.data.trim()) continue;
    const isNumber = parent.tagName === 'DATA' || parent.matches('table.numeric td:not(.words)');
    for (const found of node.data.matchAll(isNumber ? /\S.*\S|\S/g : /[^\s\/–—-]+/g)) {
      range.setStart(node, found.index);
      range.setEnd(node, found.index + found[0].length);
      const boxes = [...range.getClientRects()].filter(box => box.width > 0);
      if (new Set(boxes.map(box => Math.round(box.top))).size > 1 && found[0].length < 30)
        say('a word or number is broken', found[0]);
      for (const box of boxes)
        if ((box.right > wide + 1 || box.left < -1) && !scrolls(parent)) say('text leaves the window', found[0]);
    }
  }
  for (const one of document.querySelectorAll('td, th, li, p, summary, .tile, .title, h1, h2, figcaption'))
    if (one.scrollWidth > one.clientWidth + 1 && getComputedStyle(one).display !== 'inline' && !scrolls(one))
      say('text overflows its box', one.textContent);

  // Labels of charts stay inside of their figure, and those of one axis do not overlap.
  for (const svg of document.querySelectorAll('svg')) {
    const frame = svg.getBoundingClientRect();
    for (const text of svg.querySelectorAll('text')) {
      const box = text.getBoundingClientRect();
      if (box.left < frame.left - 4 || box.right > frame.right + 4 || box.bottom > frame.bottom + 4)
        say('a label leaves its chart', text.firstChild.data);
    }
    for (const kind of ['.tick.middle', '.in-cell', '.small']) {
      const boxes = [...svg.querySelectorAll(kind)].map(text => [text, text.getBoundingClientRect()]);
      boxes.forEach(([text, a], place) => boxes.slice(place + 1).forEach(([other, b]) => {
        if (a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 1 && b.top < a.bottom - 1)
          say('labels overlap', text.textContent + ' / ' + other.textContent);
      }));
    }
  }

  // Contrast of text with what is painted below it (WCAG 2.1, 1.4.3): 4.5, of large text 3.
  const parsed = color => {
    const found = color.match(/[\d.]+/g).map(Number);
    return found.length < 4 ? [...found, 1] : found;
  };
  const over = (above, below) => [0, 1, 2].map(i => above[i] * above[3] + below[i] * (1 - above[3])).concat([1]);
  const luminance = ([r, g, b]) => [r, g, b].map(part => part / 255).map(part => part <= 0.04045 ? part / 12.92 :
    ((part + 0.055) / 1.055) ** 2.4).reduce((sum, part, i) => sum + part * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = one => {
    if (!one) return [255, 255, 255, 1];
    const own = parsed(getComputedStyle(one).backgroundColor);
    return own[3] === 1 ? own : over(own, ground(one.parentElement));
  };
  const seen = new Set();
  for (const one of document.querySelectorAll('body *')) {
    const text = [...one.childNodes].some(node => node.nodeType === 3 && node.data.trim());
    if (!text || one.closest('title, style')) continue;
    const style = getComputedStyle(one), inside = one.closest('svg');
    let color = parsed(inside ? style.fill : style.color), below = ground(inside || one);
    const cell = one.matches('.in-cell') && one.previousElementSibling;
    if (cell) {
      const fill = getComputedStyle(cell);
      below = over([...parsed(fill.fill).slice(0, 3), Number(fill.fillOpacity)], below);
    }
    const [low, high] = [luminance(over(color, below)), luminance(below)].sort((a, b) => a - b);
    const ratio = (high + 0.05) / (low + 0.05), size = parseFloat(style.fontSize);
    const needed = size >= 24 || (size >= 18.66 && style.fontWeight >= 700) ? 3 : 4.5;
    const said = `${ratio.toFixed(2)}: ${style.color} ${one.className.baseVal ?? one.className}`;
    if (ratio < needed && !seen.has(said)) say('too little contrast', said + ' ' + one.textContent), seen.add(said);
  }

  // Names: pictures, figures, sections, tables, and boxes that scroll; ids are unique; headings do not skip a level.
  for (const image of document.querySelectorAll('img')) if (!image.alt.trim()) say('a picture without alt text', image.src);
  for (const one of document.querySelectorAll('[role=img], [role=group]'))
    if (!(one.getAttribute('aria-label') || '').trim()) say('a figure without a name', one.outerHTML);
  for (const one of document.querySelectorAll('[aria-labelledby]'))
    if (!document.getElementById(one.getAttribute('aria-labelledby'))) say('a label that is missing', one.outerHTML);
  for (const one of document.querySelectorAll('table'))
    if (!one.caption || ![...one.querySelectorAll('th')].every(cell => cell.scope && cell.textContent.trim()))
      say('a table without a caption, or with a header without scope or text', one.textContent);
  for (const svg of document.querySelectorAll('svg'))
    if (!svg.closest('[role=img]')) say('a chart without a description', svg.outerHTML);
  for (const one of document.querySelectorAll('*'))
    if (one.scrollWidth > one.clientWidth + 1 && /auto|scroll/.test(getComputedStyle(one).overflowX)
        && one.tabIndex < 0) say('a box that scrolls and takes no focus', one.outerHTML);
  const ids = [...document.querySelectorAll('[id]')].map(one => one.id);
  if (new Set(ids).size < ids.length) say('an id that is used twice', ids);
  if (!document.documentElement.lang || !document.title) say('no language or title', '');
  let level = 0;
  for (const one of document.querySelectorAll('h1, h2, h3')) {
    if (Number(one.tagName[1]) > level + 1) say('a heading that skips a level', one.textContent);
    level = Number(one.tagName[1]);
  }
  // Charts of one figure stand below each other in narrow windows.
  if (wide <= 700)
    for (const figure of document.querySelectorAll('.panels')) {
      const lefts = new Set([...figure.querySelectorAll('.panel')].map(one => Math.round(one.getBoundingClientRect().left)));
      if (lefts.size > 1) say('charts beside each other in a narrow window', figure.getAttribute('aria-label'));
    }
  return wrong;
})()

// What keeps people out: controls and pictures without a name, ids used twice, skipped headings, pale text.
(() => {
  const faults = [];
  const visible = (node) => node.checkVisibility({ visibilityProperty: true });
  const named = (node) => node.getAttribute("aria-label") || node.textContent.trim() || node.labels?.length
    || document.getElementById(node.getAttribute("aria-labelledby"))?.textContent;
  for (const node of document.querySelectorAll("button, a, input, select, summary, nav, [role=img], [role=region]"))
    if (visible(node) && !named(node)) faults.push(`no name: ${node.nodeName}`);

  const ids = [...document.querySelectorAll("[id]")].map((node) => node.id);
  for (const id of new Set(ids.filter((id, place) => ids.indexOf(id) !== place))) faults.push(`id twice: ${id}`);

  let level = 0;
  for (const node of document.querySelectorAll("h1, h2, h3, h4, h5, h6")) {
    const mine = Number(node.nodeName[1]);
    if (mine > level + 1) faults.push(`heading skips a level: ${node.textContent}`);
    level = mine;
  }
  for (const tag of ["html[lang]", "title", "main", "h1"])
    if (document.querySelectorAll(tag).length !== 1) faults.push(`not exactly one ${tag}`);

  // WCAG 2 contrast of every visible text with the nearest opaque background.
  const channels = (colour) => colour.match(/[\d.]+/g).map(Number);
  const luminance = ([r, g, b]) => [r, g, b].map((value) => value / 255)
    .map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4))
    .reduce((sum, value, i) => sum + value * [0.2126, 0.7152, 0.0722][i], 0);
  const background = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const colour = channels(getComputedStyle(at).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const seen = new Set();
  while (texts.nextNode()) {
    const node = texts.currentNode.parentElement;
    if (!texts.currentNode.data.trim() || seen.has(node) || node.closest("script, option, noscript") || !visible(node)) continue;
    seen.add(node);
    const style = getComputedStyle(node);
    const colour = channels(node.closest("svg") ? style.fill : style.color);
    const [light, dark] = [luminance(colour), luminance(background(node))].sort((a, b) => b - a);
    const ratio = (light + 0.05) / (dark + 0.05);
    if (ratio < 4.5) faults.push(`contrast ${ratio.toFixed(2)}: ${node.textContent.trim().slice(0, 40)}`);
  }
  return faults;
})()

(() => {
  'use strict';
  const data = JSON.parse(document.getElementById('data').textContent);
  const svg = document.getElementById('timeline'), detail = document.getElementById('detail');
  const LEFT = 34, LANE = 24, BAND = 84, SMALL = 24, GAP = 18;
  let from = 0, until = data.duration;
  const colours = {down: 'var(--down)', paused: 'var(--paused)', cut: 'var(--cut)', leader: 'var(--leader)'};
  const layer = {leader: 0, cut: 1, paused: 2, down: 3};
  const seconds = us => (us / 1e6).toFixed(until - from < 5e6 ? 3 : until - from < 120e6 ? 1 : 0) + ' s';
  const text = s => s.replace(/[&<>"]/g, c => ({'&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;'}[c]));

  function band(values, top, height, x, colour, name) {
    const pixels = Math.max(1, svg.clientWidth - LEFT - 8), b = data.bucket;
    const first = Math.max(0, Math.floor(from / b)), last = Math.min(values.length - 1, Math.ceil(until / b));
    const group = Math.max(1, Math.floor((last - first + 1) / pixels));
    const rates = [];
    for (let i = first; i <= last; i += group) {
      let sum = 0, n = 0;
      for (let j = i; j < i + group && j <= last; j++, n++) sum += values[j];
      rates.push([i * b, (i + n) * b, sum / n]);
    }
    const most = Math.max(1, ...rates.map(r => r[2]));
    let d = '';
    for (const [a, z, rate] of rates) {
      if (!rate) continue;
      const h = Math.max(1, rate / most * (height - 2)), l = Math.max(LEFT, x(a)), r = x(z);
      if (r > l) d += `M${l.toFixed(1)} ${top + height}v${-h.toFixed(1)}H${Math.max(l + 1, r).toFixed(1)}V${top + height}z`;
    }
    return `<path d="${d}" fill="${colour}"/><text x="${LEFT}" y="${top - 4}">${name}, at most ${Math.round(most * 1e6 / b)}/s</text>`;
  }

  function draw() {
    const width = Math.max(280, svg.clientWidth), scale = (width - LEFT - 8) / (until - from);
    const x = us => LEFT + (us - from) * scale;
    const clip = (a, z) => [Math.max(LEFT, x(a)), Math.min(width - 8, x(z))];
    const lanes = data.nodes.length * LANE, marksTop = 6, nodesTop = marksTop + 14;
    const ackTop = nodesTop + lanes + GAP, refTop = ackTop + BAND + GAP, unkTop = refTop + SMALL + GAP, axis = unkTop + SMALL + 4;
    let out = '';
    for (const [a, z] of data.gaps) {
      if (z < from || a > until) continue;
      const [l, r] = clip(a, z);
      out += `<rect x="${l}" y="${nodesTop}" width="${Math.max(1, r - l)}" height="${axis - nodesTop}" fill="var(--bad)" opacity=".13"><title>no write acknowledged for ${((z - a) / 1e6).toFixed(2)} s, from ${seconds(a)}</title></rect>`;
    }
    data.nodes.forEach((node, i) => {
      const y = nodesTop + i * LANE;
      out += `<text x="4" y="${y + 15}">n${node}</text><rect x="${LEFT}" y="${y + 4}" width="${width - LEFT - 8}" height="${LANE - 8}" rx="2" fill="var(--line)"/>`;
      const bars = data.bars.filter(b => b.node === node && b.until >= from && b.from <= until).sort((a, b) => layer[a.kind] - layer[b.kind]);
      for (const b of bars) {
        const [l, r] = clip(b.from, b.until);
        out += `<rect x="${l.toFixed(1)}" y="${y + 4}" width="${Math.max(1, r - l).toFixed(1)}" height="${LANE - 8}" rx="2" fill="${colours[b.kind]}"${b.kind === 'cut' ? ' opacity=".75"' : ''}><title>${text(b.text)}: ${seconds(b.from)} to ${seconds(b.until)}</title></rect>`;
      }
    });
    let drawn = 0;
    for (const m of data.marks) {
      if (m.at < from || m.at > until || ++drawn > 3000) continue;
      const at = x(m.at), i = data.nodes.indexOf(m.node), y = i < 0 ? marksTop + 5 : nodesTop + i * LANE + LANE / 2;
      const colour = m.kind === 'heal' ? 'var(--pass)' : m.kind === 'skipped' ? 'var(--dim)' : 'var(--bad)';
      out += m.kind === 'heal'
        ? `<circle cx="${at.toFixed(1)}" cy="${y}" r="3.5" fill="${colour}" stroke="var(--card)"><title>${seconds(m.at)}: ${text(m.text)}</title></circle>`
        : `<path d="M${at.toFixed(1)} ${y - 5}l4.5 9h-9z" fill="${colour}" stroke="var(--card)"><title>${seconds(m.at)}: ${text(m.text)}</title></path>`;
    }
    out += band(data.acknowledged, ackTop, BAND, x, 'var(--ack)', 'acknowledged');
    out += band(data.refused, refTop, SMALL, x, 'var(--paused)', 'refused');
    out += band(data.unknown, unkTop, SMALL, x, 'var(--bad)', 'unknown');
    const ticks = width < 500 ? 4 : 8;
    for (let i = 0; i <= ticks; i++) {
      const at = from + (until - from) * i / ticks, anchor = i === 0 ? 'start' : i === ticks ? 'end' : 'middle';
      out += `<line x1="${x(at)}" x2="${x(at)}" y1="${nodesTop}" y2="${axis}" stroke="var(--dim)" opacity=".14"/><text x="${x(at)}" y="${axis + 14}" text-anchor="${anchor}">${seconds(at)}</text>`;
    }
    svg.setAttribute('viewBox', `0 0 ${width} ${axis + 20}`);
    svg.style.height = axis + 20 + 'px';
    svg.innerHTML = out;
    document.getElementById('span').textContent = `${seconds(from)} to ${seconds(until)}` + (data.left_out ? `; ${data.left_out} faults are left out` : '');
  }

  function view(a, z) {
    const least = Math.min(200000, data.duration), length = Math.min(data.duration, Math.max(least, z - a));
    from = Math.max(0, Math.min(data.duration - length, a));
    until = from + length;
    draw();
  }
  function zoom(factor, at) {
    const center = at === undefined ? (from + until) / 2 : at;
    view(center - (center - from) * factor, center + (until - center) * factor);
  }
  const us = event => from + (event.clientX - svg.getBoundingClientRect().left - LEFT) / (svg.clientWidth - LEFT - 8) * (until - from);
  const on = (id, action) => document.getElementById(id).addEventListener('click', action);
  on('zoom-in', () => zoom(.5));
  on('zoom-out', () => zoom(2));
  on('left', () => view(from - (until - from) * .4, until - (until - from) * .4));
  on('right', () => view(from + (until - from) * .4, until + (until - from) * .4));
  on('all', () => view(0, data.duration));
  on('copy', () => navigator.clipboard && navigator.clipboard.writeText(document.getElementById('command').textContent));
  svg.addEventListener('wheel', e => { if (e.ctrlKey || e.metaKey) { e.preventDefault(); zoom(e.deltaY > 0 ? 1.25 : .8, us(e)); } }, {passive: false});
  let drag = null;
  svg.addEventListener('pointerdown', e => { drag = {x: e.clientX, from, until}; });
  addEventListener('pointerup', () => { drag = null; });
  svg.addEventListener('pointermove', e => {
    if (drag) {
      const moved = (drag.x - e.clientX) / (svg.clientWidth - LEFT - 8) * (drag.until - drag.from);
      view(drag.from + moved, drag.until + moved);
      return;
    }
    const at = us(e), i = Math.floor(at / data.bucket);
    if (at < 0 || i >= data.acknowledged.length) return;
    const near = (until - from) / 80, marks = data.marks.filter(m => Math.abs(m.at - at) < near).slice(0, 3).map(m => m.text);
    const leader = data.bars.find(b => b.kind === 'leader' && b.from <= at && at < b.until);
    detail.textContent = `${seconds(at)}: ${data.acknowledged[i]} acknowledged, ${data.refused[i]} refused, ${data.unknown[i]} unknown in ${data.bucket / 1000} ms` + (leader ? `; ${leader.text}` : '') + (marks.length ? ` · ${marks.join(' · ')}` : '');
  });
  document.querySelectorAll('button[data-from]').forEach(b => b.addEventListener('click', () => {
    const a = +b.dataset.from, z = +b.dataset.until, room = Math.max(500000, z - a);
    view(a - room, z + room);
    svg.scrollIntoView({behavior: 'smooth', block: 'center'});
  }));
  addEventListener('resize', draw);
  draw();
})();

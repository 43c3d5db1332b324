"use strict";
// Every string of the run becomes text by textContent, never markup.
const SVG = "http://www.w3.org/2000/svg";
const byId = (id) => document.getElementById(id);
const put = (id, words) => { byId(id).textContent = words; };
const known = (x) => typeof x === "number" && Number.isFinite(x);
const figures = (x) => !known(x) ? "-" : x !== 0 && (Math.abs(x) >= 1e6 || Math.abs(x) < 1e-3) ? x.toExponential(2) : String(Number(x.toPrecision(4)));
const bytes = (x) => !known(x) ? "-" : x >= 1e9 ? (x / 1e9).toFixed(2) + " GB" : (x / 1e6).toFixed(0) + " MB";

function duration(seconds) {
  if (!known(seconds)) return "-";
  const s = Math.max(0, Math.round(seconds)), two = (n) => String(n).padStart(2, "0");
  return s < 60 ? s + " s" : s < 3600 ? Math.floor(s / 60) + ":" + two(s % 60)
    : Math.floor(s / 3600) + ":" + two(Math.floor(s / 60) % 60) + ":" + two(s % 60);
}

function element(name, words, kind) {
  const made = document.createElement(name);
  if (words !== undefined) made.textContent = words;
  if (kind) made.className = kind;
  return made;
}

function drawn(name, attributes, words) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (words !== undefined) made.textContent = words;
  return made;
}

function chart(id, points, across, up, shown) {
  const place = byId(id);
  place.replaceChildren();
  // as wide as it is shown, so that its words have the size of the page's
  const W = Math.max(240, Math.min(520, place.clientWidth || 520)), H = 240, L = 64, R = 10, T = 10, B = 38;
  if (points.length < 2) { place.append(element("p", "Not enough points yet.", "quiet")); return; }
  const xs = points.map((p) => p[0]), ys = points.map((p) => p[1]).sort((a, b) => a - b);
  // the first steps may be far off: the axis ends where 2 in a hundred points lie beyond
  let low = ys[0], high = ys[Math.floor(0.98 * (ys.length - 1))];
  if (high <= low) { high = low + (Math.abs(low) * 0.01 || 1); low -= high - low; }
  const x0 = Math.min(...xs), x1 = Math.max(...xs);
  const px = (x) => L + (W - L - R) * (x1 > x0 ? (x - x0) / (x1 - x0) : 0.5);
  const py = (y) => T + (H - T - B) * (1 - (Math.min(Math.max(y, low), high) - low) / (high - low));
  const svg = drawn("svg", { viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": `${up} against ${across}` });
  for (let i = 0; i <= 3; i++) {
    const y = low + (high - low) * i / 3;
    svg.append(drawn("line", { x1: L, x2: W - R, y1: py(y), y2: py(y) }));
    svg.append(drawn("text", { x: L - 6, y: py(y) + 4, "text-anchor": "end" }, shown(y)));
  }
  svg.append(drawn("text", { x: L, y: H - 20 }, figures(x0)), drawn("text", { x: W - R, y: H - 20, "text-anchor": "end" }, figures(x1)));
  svg.append(drawn("text", { x: (L + W - R) / 2, y: H - 5, "text-anchor": "middle" }, across));
  svg.append(drawn("path", { d: points.map((p, i) => (i ? "L" : "M") + px(p[0]).toFixed(1) + " " + py(p[1]).toFixed(1)).join("") }));
  place.append(svg);
}

function certificate(runs) {
  const last = [...runs].reverse().find((run) => run.certificate);
  const rows = byId("checks"), reasons = byId("reasons");
  rows.replaceChildren(); reasons.replaceChildren(); byId("table").hidden = !last;
  if (!last) { put("verdict", "No run has been certified yet."); return; }
  const c = last.certificate;
  put("verdict", `${last.number}. ${last.name}: ${c.passed ? "certified" : "not certified"}` + (known(c.khat) ? `, k-hat ${figures(c.khat)}` : ""));
  for (const reason of c.reasons) reasons.append(element("li", reason));
  for (const check of c.checks) {
    const row = element("tr"), holds = check.holds;
    row.append(element("td", check.name), element("td", holds === true ? "holds" : holds === false ? "fails" : "does not apply", holds === true ? "good" : holds === false ? "bad" : ""));
    row.append(element("td", figures(check.value), "n"), element("td", figures(check.threshold), "n"));
    rows.append(row);
  }
}

function show(state) {
  const runs = state.runs, run = runs[runs.length - 1];
  document.title = `${state.status}: ${state.title}`;
  put("title", state.title); put("status", state.status); byId("status").className = "chip " + state.status;
  put("age", known(state.age) ? `last word ${duration(state.age)} ago` : "");
  const list = byId("runs"); list.replaceChildren();
  for (const r of runs) {
    const verdict = r.certificate ? (r.certificate.passed ? ", certified" : ", not certified") : "";
    const item = element("li", `${r.name}: step ${figures(r.step)} of ${figures(r.total)}, ${duration(r.seconds)}${verdict}`);
    item.value = r.number;
    if (r.notes.length) { const notes = element("ul"); for (const note of r.notes) notes.append(element("li", note)); item.append(notes); }
    list.append(item);
  }
  certificate(runs);
  const zero = state.memory.length ? state.memory[0][0] : 0;
  chart("memories", state.memory.map(([t, m]) => [t - zero, m]), "seconds", "memory", bytes);
  if (!run) return;
  const live = state.status === "running" && !run.ended;
  put("name", run.name); put("step", `${figures(run.step)} of ${figures(run.total)}`);
  put("rate", known(run.rate) ? figures(run.rate) : live ? "compiling" : "-");
  put("left", live ? duration(run.left) : "-");
  put("objective", figures(run.objective)); put("memory", bytes(run.memory));
  byId("fill").style.width = (known(run.step) && run.total > 0 ? Math.min(100, 100 * run.step / run.total) : 0) + "%";
  chart("trace", run.trace, "step", "objective", figures);
}

async function look() {
  try {
    const answer = await fetch("state.json", { cache: "no-store", credentials: "same-origin" });
    if (!answer.ok) throw new Error(String(answer.status));
    show(await answer.json());
  } catch (error) {
    put("status", "the server does not answer"); byId("status").className = "chip lost";
  }
  setTimeout(look, 1500);
}
// the address with the token is not left in the history
if (location.search) history.replaceState(null, "", location.pathname);
look();

"use strict";
(() => {
const data = JSON.parse(document.getElementById("data").textContent);
const part = id => document.getElementById(id);
const LEVELS = [0.05, 0.25, 0.75, 0.95];
const DASHES = ["", "8 4", "2 3", "10 3 2 3"];
const state = { parameter: -1, value: 0, treatments: new Set(), options: new Set() };

// Draws. Values of a series lie draw by draw for each of its places.

const floats = text => new Float32Array(Uint8Array.from(atob(text), c => c.charCodeAt(0)).buffer);
const series = (packed, draws) => ({ values: floats(packed), draws, orders: [] });

function unpacked(packed) {
  const total = packed.weight.reduce((sum, w) => sum + w, 0);
  const weight = Float64Array.from(packed.weight, w => w / total);
  return { weight, parameters: series(packed.x, weight.length) };
}

const column = (of, place) => of.values.subarray(place * of.draws, (place + 1) * of.draws);

function described(of, place, weight) {
  const values = column(of, place);
  of.orders[place] ??= Uint16Array.from(values.keys()).sort((a, b) => values[a] - values[b]);
  const quantiles = [];
  let sum = 0, mean = 0, square = 0;
  for (const i of of.orders[place]) {
    sum += weight[i];
    mean += weight[i] * values[i];
    square += weight[i] * values[i] ** 2;
    while (quantiles.length < LEVELS.length && sum >= LEVELS[quantiles.length] - 1e-9)
      quantiles.push(values[i]);
  }
  return { mean, sd: Math.sqrt(Math.max(square - mean * mean, 0)), quantiles };
}

function near(ensemble) {
  if (state.parameter < 0) return ensemble.weight;
  const width = data.kernel * whole[state.parameter].sd;
  const far = Array.from(column(ensemble.parameters, state.parameter),
                         x => ((x - state.value) / width) ** 2 / 2);
  const least = Math.min(...far);  // so that not all weights are 0 far from all draws
  const weight = ensemble.weight.map((w, i) => w * Math.exp(least - far[i]));
  const total = weight.reduce((sum, w) => sum + w, 0);
  return weight.map(w => w / total);
}

const worth = weight => 1 / weight.reduce((sum, w) => sum + w * w, 0);

const posterior = unpacked(data.posterior);
const draws = posterior.weight.length;
const stocks = series(data.stocks, draws);
const profile = data.profile && series(data.profile.values, draws);
const forecasts = data.forecasts.map(of => {
  const ensemble = unpacked(of.draws);
  return { ...of, ensemble, stocks: series(of.stocks, ensemble.weight.length) };
});
const whole = data.parameters.map((_, i) => described(posterior.parameters, i, posterior.weight));

// Text.

const escaped = text => String(text).replace(/[&<>"]/g, c => `&#${c.charCodeAt(0)};`);
const shown = v => v === 0 ? "0" : Math.abs(v) >= 999.5 ? v.toFixed(0)
  : Math.abs(v) < 1e-3 ? v.toExponential(2) : v.toPrecision(3);
const range = (low, high) => `${shown(low)} to ${shown(high)}`;
const dash = t => DASHES[t % DASHES.length];

function table(head, rows) {
  const cell = (tag, text, i) => `<${tag}${i ? ' class="number"' : ""}>${text}</${tag}>`;
  const row = (tag, cells) => `<tr>${cells.map((c, i) => cell(tag, c, i)).join("")}</tr>`;
  return `<table><thead>${row("th", head)}</thead><tbody>` +
    `${rows.map(r => row("td", r)).join("")}</tbody></table>`;
}

// Charts, as wide as the place they have.

function ticks(low, high, count) {
  const rough = (high - low) / count, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].find(s => s * power >= rough) * power;
  const found = [];
  for (let k = Math.ceil(low / step); k * step <= high + step * 1e-9; k++) found.push(k * step);
  return found.map(v => Number(v.toPrecision(12)));
}

function chart(id, height, [left, right], [bottom, top], labels, drawn) {
  const box = part(id), width = Math.max(box.clientWidth, 200);
  const x = v => 46 + (v - left) / (right - left) * (width - 62);
  const y = v => height - 40 - (v - bottom) / (top - bottom) * (height - 52);
  const across = ticks(left, right, width / 90).map(v =>
    `<path class="grid" d="M${x(v)} 12V${height - 40}"/>` +
    `<text x="${x(v)}" y="${height - 24}" text-anchor="middle">${v}</text>`);
  const up = ticks(Math.min(bottom, top), Math.max(bottom, top), height / 60).map(v =>
    `<path class="grid" d="M46 ${y(v)}H${width - 16}"/>` +
    `<text x="42" y="${y(v) + 4}" text-anchor="end">${v}</text>`);
  box.innerHTML = `<svg viewBox="0 0 ${width} ${height}" role="img" aria-label="${escaped(labels.join("; "))}">` +
    across.join("") + up.join("") + drawn(x, y) +
    `<path class="axis" fill="none" d="M46 12V${height - 40}H${width - 16}"/>` +
    `<text x="${(46 + width - 16) / 2}" y="${height - 6}" text-anchor="middle">${labels[0]}</text>` +
    `<text transform="translate(12 ${(height - 28) / 2}) rotate(-90)" text-anchor="middle">` +
    `${labels[1]}</text></svg>`;
}

const path = points => points.map(([a, b], i) => `${i ? "L" : "M"}${a.toFixed(1)} ${b.toFixed(1)}`)
  .join("");

function fan(years, found, x, y, colour, dashes) {
  const band = (low, high, kind) => `<path class="${kind}" fill="${colour}" d="${path([
    ...years.map((year, i) => [x(year), y(found[i].quantiles[low])]),
    ...years.map((year, i) => [x(year), y(found[i].quantiles[high])]).reverse(),
  ])}Z"/>`;
  const mean = path(years.map((year, i) => [x(year), y(found[i].mean)]));
  return band(0, 3, "outer") + band(1, 2, "inner") +
    `<path fill="none" stroke="${colour}" stroke-width="2" stroke-dasharray="${dashes}" d="${mean}"/>`;
}

function mark(shape, x, y, colour, kind) {
  const paint = kind === "fitted" ? `fill="${colour}"` : `class="out" stroke="${colour}"`;
  if (kind === "estimated")
    return `<path stroke="#555" d="M${x - 4} ${y - 4}l8 8m0 -8l-8 8"/>`;
  const drawn = ["M-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0", "M-4 -4h8v8h-8z", "M0 -5l5 9h-10z",
                 "M0 -5l5 5l-5 5l-5 -5z"][shape % 4];
  return `<path ${paint} transform="translate(${x} ${y})" d="${drawn}"/>`;
}

const point = (of, t, x, y) => (of.error === null ? "" :
  `<path stroke="black" d="M${x(of.year)} ${y(of.value - of.error)}V${y(of.value + of.error)}"/>`) +
  mark(t, x(of.year), y(of.value), data.treatments[t].colour, of.kind);

// Heights of labels that do not cover each other, near those that are asked for.
function apart(heights) {
  const found = [...heights];
  let last = -Infinity;
  for (const i of [...heights.keys()].sort((a, b) => heights[a] - heights[b]))
    last = found[i] = Math.max(heights[i], last + 12);
  return found;
}

// What is shown.

const course = (t, weight) => data.years.map((_, i) =>
  described(stocks, t * data.years.length + i, weight));

function chosenForecasts() {
  return forecasts.flatMap(of => {
    const weight = near(of.ensemble);
    return of.members.map((member, m) => ({ ...member, years: of.years, of, m, weight }))
      .filter(one => state.treatments.has(one.treatment) && state.options.has(one.option))
      .map(one => ({ ...one, found: one.years.map((_, i) =>
        described(of.stocks, one.m * one.years.length + i, weight)) }));
  });
}

function drawStocks(treatments, weight, ahead) {
  const now = treatments.map(t => course(t, weight));
  const all = treatments.map(t => course(t, posterior.weight));
  const highest = Math.max(1e-6, ...all.flat().map(d => d.quantiles[3]),
    ...ahead.flatMap(one => one.found.map(d => d.quantiles[3])),
    ...treatments.flatMap(t => data.treatments[t].observations.map(o => o.value + o.error)));
  const last = Math.max(data.last, ...ahead.map(one => one.years.at(-1)));
  const first = Math.min(data.years[0], ...treatments.flatMap(t =>
    data.treatments[t].observations.map(o => o.year)));
  const wide = part("stock").clientWidth, height = Math.min(420, Math.max(280, wide * 0.6));
  chart("stock", height, [first, Math.max(last, first + 1)], [0, highest * 1.06],
        ["year", `organic C ${data.depth}, Mg C/ha`], (x, y) =>
    treatments.map((t, k) => fan(data.years, now[k], x, y, data.treatments[t].colour, dash(t)) +
      (state.parameter < 0 ? "" :
        `<path class="all" d="${path(data.years.map((v, i) => [x(v), y(all[k][i].mean)]))}"/>`) +
      data.treatments[t].observations.map(o => point(o, t, x, y)).join("")).join("") +
    ahead.map(one => fan(one.years, one.found, x, y, data.options[one.option].colour,
                         dash(one.treatment))).join("") +
    apart(ahead.map(one => y(one.found.at(-1).mean) + 4)).map((place, i) =>
      `<text x="${x(ahead[i].years.at(-1)) + 4}" y="${place}">` +
      `${data.options[ahead[i].option].mark}</text>`).join(""));
  const rows = (name, year, d, before) => [name, year, shown(d.mean),
    range(d.quantiles[1], d.quantiles[2]), range(d.quantiles[0], d.quantiles[3]), shown(before)];
  part("numbers").innerHTML = table(
    ["Mg C/ha", "end of", "mean", "50 %", "90 %", "mean, whole posterior"],
    [...treatments.map((t, k) =>
       rows(escaped(data.treatments[t].label), data.last, now[k].at(-1), all[k].at(-1).mean)),
     ...ahead.map(one => rows(
       `${data.options[one.option].mark}: ${escaped(data.options[one.option].label)}, ` +
         escaped(data.treatments[one.treatment].label),
       one.years.at(-1), one.found.at(-1), described(one.of.stocks,
         (one.m + 1) * one.years.length - 1, one.of.ensemble.weight).mean))]);
}

function drawProfile(treatments, weight) {
  const layers = data.profile.edges[0].length - 1;
  const found = t => data.profile.edges[t].slice(1).map((_, i) =>
    described(profile, t * layers + i, weight));
  const highest = Math.max(1e-6, ...treatments.flatMap(t => Array.from({ length: layers }, (_, i) =>
    described(profile, t * layers + i, posterior.weight).quantiles[3])));
  const deepest = Math.max(...data.profile.edges.map(edges => edges.at(-1)));
  chart("profile", 340, [0, highest * 1.06], [deepest, 0],
        ["organic C, Mg C/ha per cm", "depth, cm"], (x, y) => treatments.map(t => {
    const edges = data.profile.edges[t], of = found(t), colour = data.treatments[t].colour;
    const steps = value => of.flatMap((d, i) =>
      [[x(value(d)), y(edges[i])], [x(value(d)), y(edges[i + 1])]]);
    const band = [...steps(d => d.quantiles[0]), ...steps(d => d.quantiles[3]).reverse()];
    return `<path class="outer" fill="${colour}" d="${path(band)}Z"/>` +
      `<path fill="none" stroke="${colour}" stroke-width="2" stroke-dasharray="${dash(t)}" ` +
      `d="${path(steps(d => d.mean))}"/>`;
  }).join(""));
}

function drawOthers(weight) {
  const rows = data.parameters.map((of, i) => {
    const before = whole[i], now = described(posterior.parameters, i, weight);
    const shift = before.sd ? (now.mean - before.mean) / before.sd : 0;
    const end = 50 + 20 * Math.max(-2.4, Math.min(2.4, shift));
    const bar = `<svg width="100" height="12" aria-hidden="true"><path class="axis" d="M50 0V12"/>` +
      `<rect x="${Math.min(50, end)}" y="2" width="${Math.abs(end - 50)}" height="8" fill="#0072B2"/>` +
      "</svg>";
    const name = escaped(of.name).replace(/[._]/g, "$&<wbr>");
    return [i === state.parameter ? `<strong>${name}</strong>` : name, escaped(of.unit),
            shown(before.mean), shown(now.mean), range(now.quantiles[0], now.quantiles[3]),
            Math.abs(shift) < 0.005 ? "0.00" : (shift < 0 ? "−" : "+") + Math.abs(shift).toFixed(2),
            bar];
  });
  part("others").innerHTML = table(
    ["parameter", "unit", "mean, whole posterior", "mean", "90 %", "shift, posterior sd", ""], rows);
}

function draw() {
  const weight = near(posterior), treatments = [...state.treatments].sort((a, b) => a - b);
  const count = worth(weight), free = state.parameter < 0, of = data.parameters[state.parameter];
  part("parameter").value = state.parameter;
  part("value").disabled = free;
  part("value").value = free ? 50 : 100 * (state.value - of.low) / (of.high - of.low);
  const value = free ? "whole posterior" : `${shown(state.value)} ${of.unit}`.trim();
  part("value").setAttribute("aria-valuetext", value);
  const ahead = chosenForecasts(), least = Math.min(...ahead.map(one => worth(one.weight)));
  const forecast = ahead.length ? ` (forecasts: <strong>${least.toFixed(0)}</strong>)` : "";
  const few = Math.min(count, least) < data.few ? ' <span class="few">Too few: the bands say little.</span>' : "";
  part("said").innerHTML = `${free ? "Whole posterior" : `Near <strong>${escaped(value)}</strong>`}` +
    `: worth <strong id="worth">${count.toFixed(0)}</strong> draws${forecast}.${few}`;
  part("about").textContent = free ? "Choose a parameter to move it." : of.description;
  document.querySelector(".whole").hidden = free;
  part("here").href = `#${address()}`;
  drawStocks(treatments, weight, ahead);
  if (profile) drawProfile(treatments, weight);
  drawOthers(weight);
}

// Controls, and the address of a view.

function choose(parameter, value) {
  const of = data.parameters[parameter];
  state.parameter = of ? parameter : -1;
  if (of) state.value = Math.min(of.high, Math.max(of.low, value));
}

function address() {
  const words = new URLSearchParams();
  if (state.parameter >= 0) {
    words.set("parameter", data.parameters[state.parameter].name);
    words.set("value", state.value);
  }
  for (const t of state.treatments) words.append("treatment", data.treatments[t].name);
  return words;
}

function visit() {
  const words = new URLSearchParams(location.hash.slice(1));
  const parameter = data.parameters.findIndex(of => of.name === words.get("parameter"));
  const value = words.has("value") ? Number(words.get("value")) : NaN;
  choose(parameter, Number.isFinite(value) ? value : whole[parameter]?.mean);
  const named = data.treatments.flatMap((of, t) =>
    words.getAll("treatment").includes(of.name) ? [t] : []);
  state.treatments = new Set(named.length ? named : data.shown);
  for (const box of part("treatments").querySelectorAll("input"))
    box.checked = state.treatments.has(Number(box.value));
  draw();
}

function boxes(id, items, chosen, sample) {
  part(id).innerHTML = items.map((of, i) => `<label><input type="checkbox" value="${i}"` +
    `${chosen.has(i) ? " checked" : ""}>${sample(of, i)}<span>${escaped(of.label)}</span></label>`)
    .join("");
  part(id).addEventListener("change", event => {
    const i = Number(event.target.value);
    event.target.checked ? chosen.add(i) : chosen.delete(i);
    draw();
  });
}

const line = (colour, dashes) => `<path d="M0 8H30" stroke="${colour}" stroke-width="2" ` +
  `stroke-dasharray="${dashes}"/>`;
part("parameter").innerHTML = '<option value="-1">none: the whole posterior</option>' +
  data.parameters.map((of, i) =>
    `<option value="${i}"${of.low < of.high ? "" : " disabled"}>${escaped(of.name)}</option>`).join("");
state.options = new Set(data.options.keys());
boxes("options", data.options, state.options, of =>
  `<svg width="30" height="16">${line(of.colour, "")}</svg><strong>${of.mark}</strong>`);
part("forecast_choices").hidden = !data.options.length;
state.treatments = new Set(data.shown);
// The set is made anew by an address, so boxes of treatments ask for the present one.
boxes("treatments", data.treatments, { has: t => state.treatments.has(t),
  add: t => state.treatments.add(t), delete: t => state.treatments.delete(t) }, (of, t) =>
  `<svg width="30" height="16">${line(of.colour, dash(t))}${mark(t, 15, 8, of.colour, "fitted")}</svg>`);
part("parameter").addEventListener("change", event => {
  const i = Number(event.target.value);
  choose(i, whole[i]?.mean);
  draw();
});
part("value").addEventListener("input", event => {
  const of = data.parameters[state.parameter];
  choose(state.parameter, of.low + event.target.value / 100 * (of.high - of.low));
  draw();
});
part("reset").addEventListener("click", () => { choose(-1); draw(); });
document.querySelector("#explore form").addEventListener("submit", event => event.preventDefault());
addEventListener("resize", draw);
addEventListener("hashchange", visit);
visit();
})();

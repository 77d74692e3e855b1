// The page: a photograph goes to POST /compare, the answer is shown. Whatever
// comes from the server or a file is put in as text, never as markup.

const $ = (id) => document.getElementById(id);

// el makes an element with a class, text, or children.
function el(tag, className, ...children) {
  const e = document.createElement(tag);
  if (className) e.className = className;
  e.append(...children.filter((c) => c !== null && c !== undefined && c !== ""));
  return e;
}

const ms = (v) => v < 0.01 ? "under 0.01 ms" : `${v < 1 ? v.toPrecision(2) : v.toFixed(v < 100 ? 2 : 0)} ms`;
const small = (v) => (v === 0 ? "0" : v.toExponential(1));
const percent = (v) => `${(100 * v).toFixed(1)} %`;

class Failure extends Error {
  constructor(problem) {
    super(problem.title);
    this.problem = problem;
  }
}

// request returns the JSON of an answer, or throws a Failure.
async function request(path, options) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch (err) {
    if (err.name === "AbortError") throw err;
    throw new Failure({ title: "The server does not answer", detail: "It may have stopped, or the connection is gone." });
  }
  let body;
  try {
    body = await answer.json();
  } catch {
    throw new Failure({ title: `Unexpected answer, status ${answer.status}`, detail: "It is not JSON." });
  }
  if (!answer.ok) throw new Failure(body);
  return body;
}

function showProblem(box, p) {
  const parts = [el("p", "", el("strong", "", p.title)), el("p", "", p.detail ?? "")];
  if (p.findings) parts.push(el("ul", "", ...p.findings.map((f) => el("li", "", f))));
  const links = el("p", "");
  if (p.type?.startsWith("/problems/")) {
    const a = el("a", "", "What to do");
    a.href = p.type;
    links.append(a);
  }
  if (p.request_id) links.append(links.hasChildNodes() ? " · " : "", "request ", el("code", "", p.request_id));
  if (links.hasChildNodes()) parts.push(links);
  box.replaceChildren(...parts);
  box.hidden = false;
}

async function loadModels() {
  const select = $("model");
  try {
    const list = await request("/models");
    for (const m of list.models) {
      if (!m.name) continue;
      const o = el("option", "", m.state === "ready" ? m.name : `${m.name} (${m.state})`);
      o.value = m.name;
      o.disabled = m.state === "failed";
      o.selected = m.name === list.default;
      select.append(o);
    }
    if (!list.default) select.value = list.models.find((m) => m.state === "ready")?.name ?? "";
    for (const name of ["random:xxs", "random:xs", "random:s"]) {
      if (list.models.some((m) => m.name === name)) continue;
      const o = el("option", "", `${name} (untrained)`);
      o.value = name;
      select.append(o);
    }
  } catch (err) {
    fail(err);
  }
}

// preview draws the photograph as far as this browser can read it.
async function preview(file) {
  const canvas = $("preview");
  canvas.hidden = true;
  try {
    const bitmap = await createImageBitmap(file);
    const scale = Math.min(1, 240 / Math.max(bitmap.width, bitmap.height));
    canvas.width = Math.max(1, Math.round(bitmap.width * scale));
    canvas.height = Math.max(1, Math.round(bitmap.height * scale));
    canvas.getContext("2d").drawImage(bitmap, 0, 0, canvas.width, canvas.height);
    bitmap.close();
    canvas.hidden = false;
  } catch {
    // TIFF, for one: the server reads more formats than browsers do.
  }
}

let current = null; // AbortController of the request in progress
let last = null; // the file on show

async function compare(file) {
  last = file;
  current?.abort();
  const mine = (current = new AbortController());
  $("error").hidden = true;
  $("result").hidden = true;
  $("status").textContent = "Running on every target …";
  const query = new URLSearchParams();
  if ($("model").value) query.set("model", $("model").value);
  if ($("layers").checked) query.set("layers", "true");
  if ($("repeat").checked) query.set("repeat", "20");
  try {
    const [result] = await Promise.all([
      request(`/compare?${query}`, { method: "POST", body: file, signal: mine.signal }),
      preview(file),
    ]);
    if (mine !== current) return;
    show(result);
  } catch (err) {
    if (mine === current) fail(err);
  }
}

function fail(err) {
  if (err.name === "AbortError") return;
  $("status").textContent = "";
  showProblem($("error"), err.problem ?? { title: "This page has a fault", detail: String(err) });
}

function facts(pairs) {
  return el("dl", "", ...pairs.flatMap(([name, v]) => [el("dt", "", name), el("dd", "", v)]));
}

function show(r) {
  const ran = r.targets.filter((t) => !t.problem).length;
  $("status").textContent = `${ran} of ${r.targets.length} ${r.targets.length === 1 ? "target" : "targets"} answered.`;
  $("facts").replaceChildren(facts([
    ["model", r.model + (r.untrained ? " (untrained: its classes mean nothing)" : "")],
    ["hash", el("code", "", r.model_hash.slice(0, 12))],
    ["image", `${r.image.format}, ${r.image.width} × ${r.image.height}, ${r.image.bytes.toLocaleString("en")} bytes`],
    ["decode", ms(r.timing.decode_ms)],
    ["preprocess", ms(r.timing.preprocess_ms)],
    ["total", ms(r.timing.total_ms)],
  ]));
  $("targets").replaceChildren(...r.targets.map(card));
  $("pairs").replaceChildren(r.pairs.length ? pairTable(r.pairs) : el("p", "", "There is no second target here to compare with. ", link("/backends", "Which targets are there?")));
  $("layer-tables").replaceChildren(...(r.layers ? layerTables(r.layers) : []));
  $("result").hidden = false;
}

function link(href, text) {
  const a = el("a", "", text);
  a.href = href;
  return a;
}

function card(t) {
  const c = el("article", "card", el("h3", "", t.target));
  if (t.problem) {
    const box = el("div", "problem");
    showProblem(box, t.problem);
    c.append(box);
    return c;
  }
  const list = el("ol", "classes");
  for (const p of t.predictions) {
    const fill = el("div", "fill");
    fill.style.width = `${100 * p.probability}%`;
    const track = el("div", "track", fill);
    track.setAttribute("aria-hidden", "true");
    const name = el("span", "name", p.label);
    name.title = p.label;
    list.append(el("li", "", name, el("span", "", percent(p.probability)), track));
  }
  const times = [["inference", ms(t.timing.inference_ms)], ["queue", ms(t.timing.queue_ms)]];
  if (t.repeat) {
    const q = t.repeat;
    times.push(["median", `${ms(q.median_ms)} (${ms(q.median_low_ms)} to ${ms(q.median_high_ms)}, ${q.runs} runs)`]);
    times.push(["ratio", `${q.ratio.toFixed(2)} (${q.ratio_low.toFixed(2)} to ${q.ratio_high.toFixed(2)})`]);
  }
  c.append(list, facts(times));
  return c;
}

// table makes a table of rows of [text, class] or text; the first cell of a row
// is its header.
function table(caption, head, rows) {
  const cell = (tag, c) => (Array.isArray(c) ? el(tag, c[1], c[0]) : el(tag, "", c));
  const t = el("table", "");
  const tr = el("tr", "", ...head.map((h) => cell("th", h)));
  for (const th of tr.children) th.scope = "col";
  t.append(el("thead", "", tr), el("tbody", "", ...rows.map(({ cells, className }) => {
    const [first, ...rest] = cells;
    const th = cell("th", first);
    th.scope = "row";
    return el("tr", className, th, ...rest.map((c) => cell("td", c)));
  })));
  const box = el("div", "scroll", t);
  box.tabIndex = 0; // so that a keyboard can scroll it
  box.setAttribute("role", "region");
  box.setAttribute("aria-label", caption);
  return el("div", "", el("p", "caption", caption), box); // a caption inside would scroll away
}

const number = (text) => [text, "number"];

function pairTable(pairs) {
  return table("Logits of the second target against the first", ["pair", "verdict", "top-1", number("max |Δ|"), number("of max |logit|"), number("SNR"), number("cosine"), number("KL"), number("top-5 overlap")],
    pairs.map((p) => ({
      cells: [`${p.a} / ${p.b}`, p.agrees ? ["✓ agrees", "good"] : ["✗ differs", "bad"], p.top1_equal ? "equal" : ["differs", "bad"],
        number(small(p.max_abs)), number(p.scale.toPrecision(3)), number(`${p.snr_db.toFixed(1)} dB`), number(p.cosine.toFixed(7)), number(small(p.kl)), number(percent(p.top5_overlap))],
    })));
}

function layerTables(layers) {
  const out = [el("h2", "", "Layer by layer")];
  if (!layers.targets.length) out.push(el("p", "", "There is no second target here to compare with."));
  for (const t of layers.targets) {
    if (t.problem) {
      const box = el("div", "problem");
      showProblem(box, t.problem);
      out.push(el("h3", "", t.target), box);
      continue;
    }
    const verdict = t.first_diverging ? `first node to diverge: ${t.first_diverging}` : `no node is under ${layers.threshold_db} dB`;
    out.push(table(`${t.target} against ${layers.reference}; ${verdict}`, ["node", "operation", "shape", number("max |Δ|"), number("of max"), number("SNR")],
      (t.nodes ?? []).map((n) => ({
        className: n.node === t.first_diverging ? "diverges" : "",
        cells: [n.node, n.kind, n.shape.join(" × "), ...(n.agreement
          ? [number(small(n.agreement.max_abs)), number(n.agreement.scale.toPrecision(3)), number(`${n.agreement.snr_db.toFixed(1)} dB`)]
          : [`folded by ${n.folded.join(", ")}`, "", ""])],
      }))));
  }
  return out;
}

$("file").addEventListener("change", (e) => {
  const [file] = e.target.files;
  e.target.value = ""; // so that the same file can be chosen again
  if (file) compare(file);
});
const drop = $("drop");
for (const type of ["dragenter", "dragover"]) {
  drop.addEventListener(type, (e) => {
    e.preventDefault();
    drop.classList.add("over");
  });
}
for (const type of ["dragleave", "drop"]) drop.addEventListener(type, () => drop.classList.remove("over"));
drop.addEventListener("drop", (e) => {
  e.preventDefault();
  const [file] = e.dataTransfer.files;
  if (file) compare(file);
});
// A file that misses the zone must not replace the page.
for (const type of ["dragover", "drop"]) window.addEventListener(type, (e) => e.preventDefault());
$("sample").addEventListener("click", async () => {
  try {
    compare(await (await fetch("/cat.jpg")).blob());
  } catch {
    fail(new Failure({ title: "The server does not answer", detail: "It may have stopped, or the connection is gone." }));
  }
});
for (const id of ["model", "repeat", "layers"]) {
  $(id).addEventListener("change", () => {
    if (last) compare(last);
  });
}
$("form").addEventListener("submit", (e) => e.preventDefault());
loadModels();

"use strict";
// Texts of the data are only ever written as text (textContent, createTextNode), never as HTML.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const store = "hnmine-labels-" + data.key;
  const labels = new Map(JSON.parse(kept.get(store) || "[]"));
  const judge = data.scores.indexOf(data.judge);
  const element = (id) => document.getElementById(id);
  const make = (tag, kind, text) => {
    const made = document.createElement(tag);
    if (kind) made.className = kind;
    if (text !== undefined) made.textContent = text;
    return made;
  };
  const key = (query, row) => JSON.stringify([query.id, data.documents[row.d][0]]);

  const items = [];
  data.queries.forEach((query, at) => {
    const positives = query.rows.filter((row) => row.v === "positive");
    const anchor = Math.min(...positives.map((row) => (judge < 0 || row.s[judge] === null ? Infinity : row.s[judge])));
    query.rows.forEach((row) => {
      if (row.v === "positive" && !row.c) return;
      const score = judge < 0 ? null : row.s[judge];
      const gap = score === null || anchor === Infinity ? null : anchor - score;
      items.push({ query, row, gap, order: items.length });
    });
    query.number = at;
    query.positives = positives.map((row) => row.d);
  });
  // Each text is looked at once for a word, however many triplets it is a part of.
  const lower = {
    queries: data.queries.map((query) => (query.id + "\n" + query.text).toLowerCase()),
    documents: data.documents.map((document) => document.join("\n").toLowerCase()),
  };
  function matching(word) {
    const [inQuery, inDocument] = [lower.queries, lower.documents].map((texts) => texts.map((text) => text.includes(word)));
    return ({ query, row }) => inQuery[query.number] || inDocument[row.d] || query.positives.some((d) => inDocument[d]);
  }
  const show = element("show");
  [...new Set(items.filter((i) => i.row.v === "dropped").map((i) => i.row.r))].sort().forEach((reason) => {
    const option = make("option", "", "dropped: " + reason);
    option.value = "reason:" + reason;
    show.append(option);
  });

  const kinds = { called: (row) => row.c, written: (row) => row.w };
  [["called", "called relevant"], ["written", "written"]].forEach(([value, words]) => {
    if (!items.some((item) => kinds[value](item.row))) return;
    const option = make("option", "", words);
    option.value = value;
    show.append(option);
  });

  const least = (value) => (value === null || value === undefined ? Infinity : value);
  const orders = {
    p: (a, b) => (b.row.p ?? -1) - (a.row.p ?? -1) || a.order - b.order,
    gap: (a, b) => least(a.gap) - least(b.gap) || a.order - b.order,
    order: (a, b) => a.order - b.order,
    label: (a, b) => labels.has(key(b.query, b.row)) - labels.has(key(a.query, a.row)) || a.order - b.order,
  };
  const list = element("list"), spacer = element("spacer"), detail = element("detail");
  const HEIGHT = 76; // as .item in the style
  let view = [], at = 0;

  const percent = (p) => (p === null || p === undefined ? "" : (100 * p).toFixed(p < 0.0995 ? 1 : 0) + " % likely false");
  const number = (value) => (value === null || value === undefined ? "–" : String(value));
  // A positive that somebody called relevant is relevant or not; of any other row it is asked whether it is a mistake.
  const said = (row) => (row.v === "positive" ? ["not relevant", "relevant"] : ["fine", "false negative"]);
  const caller = (row) => "called relevant by " + row.c.replace(/^grade_/, "").replace(/^score_/, "");
  const tag = (row, label) => make("span", "tag " + (label === (row.v === "positive" ? 0 : 1) ? "false" : "fine"), said(row)[label]);

  function choose() {
    const wanted = element("search").value.toLowerCase().split(/\s+/).filter(Boolean).map(matching);
    const kind = show.value;
    view = items.filter((item) => {
      const is = kind in kinds ? kinds[kind](item.row)
        : kind.startsWith("reason:") ? item.row.v === "dropped" && item.row.r === kind.slice(7) : item.row.v === kind;
      return is && wanted.every((matches) => matches(item));
    });
    view.sort(orders[element("sort").value]);
    at = 0;
    list.scrollTop = 0;
    spacer.style.height = view.length * HEIGHT + "px";
    element("told").textContent = view.length.toLocaleString("en") + " triplets shown, of " + data.queries.length.toLocaleString("en") + " queries";
    draw();
    open(false);
  }

  function draw() {
    const first = Math.max(0, Math.floor(list.scrollTop / HEIGHT) - 4);
    const last = Math.min(view.length, first + Math.ceil(list.clientHeight / HEIGHT) + 9);
    const made = [];
    for (let place = first; place < last; place++) {
      const { query, row, gap } = view[place];
      const item = make("div", "item" + (place === at ? " on" : ""));
      item.style.top = place * HEIGHT + "px";
      item.id = "item-" + place;
      item.setAttribute("role", "option");
      item.setAttribute("aria-selected", String(place === at));
      item.append(make("p", "q", query.text), make("p", "n", data.documents[row.d][1]));
      const facts = make("p", "m", [percent(row.p), gap === null ? "" : "gap " + Number(gap.toPrecision(3)), row.v === "dropped" ? row.r : "", row.c ? caller(row) : "", row.w || ""].filter(Boolean).join(" · ") + " ");
      const label = labels.get(key(query, row));
      if (label !== undefined) facts.append(tag(row, label));
      item.append(facts);
      item.addEventListener("click", () => { at = place; draw(); open(true); });
      made.push(item);
    }
    spacer.replaceChildren(...made);
    if (view.length) list.setAttribute("aria-activedescendant", "item-" + at);
  }

  const word = /[\p{L}\p{N}]+/gu;
  const wordsOf = (text) => new Set(text.toLowerCase().match(word) || []);
  const common = (() => { // words of many documents tell nothing when they are shared
    const counts = new Map();
    const looked = data.documents.slice(0, 500);
    looked.forEach(([, text]) => wordsOf(text).forEach((w) => counts.set(w, (counts.get(w) || 0) + 1)));
    return new Set([...counts].filter(([, n]) => n > 0.2 * looked.length && looked.length >= 20).map(([w]) => w));
  })();
  const telling = (text) => new Set([...wordsOf(text)].filter((w) => !common.has(w)));

  function marked(text, shared) {
    const made = document.createDocumentFragment();
    let from = 0;
    for (const found of text.matchAll(word)) {
      if (!shared.has(found[0].toLowerCase())) continue;
      made.append(document.createTextNode(text.slice(from, found.index)), make("mark", "", found[0]));
      from = found.index + found[0].length;
    }
    made.append(document.createTextNode(text.slice(from)));
    return made;
  }

  // Which pieces of a text, each a word with the space behind it, are no longer where they were in another text: those
  // that are not in a longest common subsequence of the two.
  function altered(text, before) {
    const pieces = (whole) => whole.match(/\S+\s*/g) || [];
    const now = pieces(text), old = pieces(before).map((piece) => piece.trim());
    const same = now.map((piece) => piece.trim());
    const length = Array.from({ length: now.length + 1 }, () => new Uint16Array(old.length + 1));
    for (let i = now.length - 1; i >= 0; i--) {
      for (let j = old.length - 1; j >= 0; j--) {
        length[i][j] = same[i] === old[j] ? length[i + 1][j + 1] + 1 : Math.max(length[i + 1][j], length[i][j + 1]);
      }
    }
    const made = document.createDocumentFragment();
    for (let i = 0, j = 0; i < now.length; i++) {
      while (j < old.length && same[i] !== old[j] && length[i][j + 1] >= length[i + 1][j]) j++;
      const stays = j < old.length && same[i] === old[j];
      made.append(stays ? same[i] : make("ins", "", same[i]), now[i].slice(same[i].length));
      if (stays) j++;
    }
    return made;
  }

  function card(query, row, shared, isOn) {
    const [id, text] = data.documents[row.d];
    const made = make("div", "row " + row.v + (isOn ? " on" : ""));
    const head = make("div", "head");
    head.append(make("b", "", row.v === "negative" ? "negative" : row.v === "dropped" ? "dropped: " + row.r : row.c ? "positive, new" : "positive"), make("code", "", id));
    const ranks = new Map(data.ranks.map((name, i) => [name, row.k[i]]));
    data.scores.forEach((name, i) => {
      const place = ranks.get(name);
      ranks.delete(name);
      if (row.s[i] !== null || place) head.append(make("span", "", name + " " + number(row.s[i]) + (place ? " (rank " + place + ")" : "")));
    });
    ranks.forEach((place, name) => { if (place) head.append(make("span", "", name + " rank " + place)); });
    data.judges.forEach((name, i) => { if (row.g[i] !== null) head.append(make("span", "", name + ": " + data.grades[row.g[i]])); });
    if (row.p !== null) head.append(make("span", "", percent(row.p)));
    if (row.c) head.append(make("span", "", caller(row)));
    if (row.w) head.append(make("span", "", "written: " + row.w));
    if (row.f && row.v === "negative") head.append(make("span", "", "filled by " + row.f));
    if (row.o && row.o.length) head.append(make("span", "", "from " + row.o.join(", ")));
    const body = make("div", "text");
    const source = (row.w || "").startsWith("perturb") && query.rows.find((own) => data.documents[own.d][0] === row.b);
    body.append(source ? altered(text, data.documents[source.d][1]) : marked(text, shared));
    made.append(head, body);
    if (row.v !== "positive" || row.c) {
      const buttons = make("div", "buttons");
      [1, 0].forEach((label) => {
        const button = make("button", "", said(row)[label]);
        button.type = "button";
        button.setAttribute("aria-pressed", String(labels.get(key(query, row)) === label));
        button.addEventListener("click", () => say(query, row, labels.get(key(query, row)) === label ? undefined : label));
        buttons.append(button);
      });
      made.append(buttons);
    }
    return made;
  }

  function open(scroll) {
    if (!view.length) {
      detail.replaceChildren(make("p", "empty", items.length ? "Nothing matches." : "There are no triplets."));
      return;
    }
    const { query, row } = view[at];
    const shared = telling(query.text);
    const made = [make("p", "kind", "query " + query.id), make("p", "query", query.text)];
    let on = null;
    query.rows.forEach((own) => {
      const one = card(query, own, shared, own === row);
      if (own === row) on = one;
      made.push(one);
    });
    detail.replaceChildren(...made);
    detail.scrollTop = Math.max(0, on.offsetTop - detail.offsetTop - 140);
    if (scroll && innerWidth < 800) on.scrollIntoView({ block: "center" });
  }

  function say(query, row, label) {
    const own = key(query, row);
    if (label === undefined) labels.delete(own); else labels.set(own, label);
    kept.set(store, JSON.stringify([...labels]));
    count();
    const before = detail.scrollTop;
    draw();
    open(false);
    detail.scrollTop = before;
  }

  function count() {
    const button = element("download");
    button.disabled = !labels.size;
    button.textContent = labels.size ? "Download " + labels.size + (labels.size === 1 ? " label" : " labels") : "Download labels";
  }

  function go(step) {
    if (!view.length) return;
    at = Math.min(view.length - 1, Math.max(0, at + step));
    const top = at * HEIGHT;
    if (top < list.scrollTop) list.scrollTop = top;
    if (top + HEIGHT > list.scrollTop + list.clientHeight) list.scrollTop = top + HEIGHT - list.clientHeight;
    draw();
    open(false);
  }

  element("download").addEventListener("click", () => {
    const lines = ["query-id\tcorpus-id\tscore"];
    labels.forEach((label, own) => lines.push([...JSON.parse(own), label].join("\t")));
    const link = make("a");
    link.href = URL.createObjectURL(new Blob([lines.join("\n") + "\n"], { type: "text/tab-separated-values" }));
    link.download = "labels.tsv";
    link.click();
    URL.revokeObjectURL(link.href);
  });
  let waiting = 0;
  element("search").addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(choose, 120); });
  show.addEventListener("change", choose);
  element("sort").addEventListener("change", choose);
  list.addEventListener("scroll", () => requestAnimationFrame(draw));
  addEventListener("resize", draw);
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement.tagName);
    if (event.key === "Escape" && typing) { document.activeElement.blur(); return; }
    if (typing) return;
    const onList = document.activeElement === list;
    const step = { j: 1, k: -1, ...(onList ? { ArrowDown: 1, ArrowUp: -1, PageDown: 8, PageUp: -8 } : {}) }[event.key];
    if (step) { event.preventDefault(); go(step); return; }
    if (event.key === "/") { event.preventDefault(); element("search").focus(); return; }
    const label = { f: 1, g: 0, u: undefined };
    if (event.key in label && view.length) { say(view[at].query, view[at].row, label[event.key]); }
  });
  count();
  choose();
})();

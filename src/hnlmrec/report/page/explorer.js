// The explorer of a report: unpacks its data, answers searches, draws the map of items.
// All text of the data goes into the page by textContent, so that none of it is markup.
"use strict";

const SHOWN = 20; // rows of a list before "show all"
const FOUND = 20; // titles or ids that a search lists

/** Make an element with properties, attributes (those with a hyphen or role) and children. */
function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in made) made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

const count = (n, noun) => `${n.toLocaleString("en")} ${noun}${n === 1 ? "" : "s"}`;

/** Starts of the parts of a flat list, from how many there are in each. */
function starts(counts) {
  const found = new Uint32Array(counts.length + 1);
  counts.forEach((n, place) => { found[place + 1] = found[place] + n; });
  return found;
}

/** Rows of whole numbers, as they are packed: counts, and all items one after another. */
class Rows {
  constructor({ counts, items }) {
    this.starts = starts(counts);
    this.items = Uint32Array.from(items);
  }

  of(row) {
    return Array.from(this.items.subarray(this.starts[row], this.starts[row + 1]));
  }

  /** The rows that hold an item. */
  holding(item) {
    const found = [];
    let row = 0;
    for (let place = this.items.indexOf(item); place >= 0; place = this.items.indexOf(item, place + 1)) {
      while (this.starts[row + 1] <= place) row += 1;
      found.push(row);
    }
    return found;
  }
}

/** Decode base64 and gzip; rejects with a message for readers where the browser cannot. */
async function unpack(text) {
  if (typeof DecompressionStream === "undefined") {
    throw new Error("This browser cannot unpack the explorer's data (it has no DecompressionStream). Browsers of 2023 and later can; the rest of the page is complete.");
  }
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).json();
}

const SHAPES = {
  liked: (pen, x, y) => pen.arc(x, y, 4.5, 0, 7),
  held: (pen, x, y) => pen.arc(x, y, 6.5, 0, 7),
  dns: (pen, x, y) => pen.rect(x - 5, y - 5, 10, 10),
  synthesised: (pen, x, y) => {
    pen.moveTo(x, y - 7);
    pen.lineTo(x + 7, y + 5);
    pen.lineTo(x - 7, y + 5);
    pen.closePath();
  },
};

/** Draws items on a canvas, and finds the one under the pointer. */
class ItemMap {
  constructor(canvas, legend, { x, y }, choose) {
    Object.assign(this, { canvas, legend, x, y, marked: {} });
    canvas.addEventListener("click", (event) => {
      const item = this.nearest(event.offsetX, event.offsetY);
      if (item >= 0) choose(item);
    });
    new ResizeObserver(() => this.draw()).observe(canvas);
  }

  /** Mark sets of items, each a list of indices, and say so to those who do not see the map. */
  mark(marked, text) {
    this.marked = marked;
    this.canvas.setAttribute("aria-label", text);
    this.draw();
  }

  place(item) {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    const margin = 12;
    return [
      margin + (this.x[item] / 1000) * (width - 2 * margin),
      height - margin - (this.y[item] / 1000) * (height - 2 * margin),
    ];
  }

  nearest(x, y) {
    let best = -1, least = 12 ** 2;
    for (let item = 0; item < this.x.length; item += 1) {
      const [atX, atY] = this.place(item);
      const distance = (atX - x) ** 2 + (atY - y) ** 2;
      if (distance < least) [best, least] = [item, distance];
    }
    return best;
  }

  draw() {
    const { canvas } = this, scale = window.devicePixelRatio || 1;
    canvas.width = canvas.clientWidth * scale;
    canvas.height = canvas.clientHeight * scale;
    const pen = canvas.getContext("2d");
    pen.scale(scale, scale);
    pen.fillStyle = this.style("dot").fill;
    pen.globalAlpha = 0.35;
    for (let item = 0; item < this.x.length; item += 1) {
      const [x, y] = this.place(item);
      pen.fillRect(x - 1, y - 1, 2, 2);
    }
    pen.globalAlpha = 1;
    for (const [name, items] of Object.entries(this.marked)) {
      const { fill, stroke } = this.style(name);
      pen.lineWidth = 2;
      for (const item of items) {
        pen.beginPath();
        SHAPES[name](pen, ...this.place(item));
        if (fill === "none") {
          pen.strokeStyle = stroke;
          pen.stroke();
        } else {
          pen.fillStyle = fill;
          pen.fill();
        }
      }
    }
  }

  /** The colours of a mark are those of the legend, in whatever theme. */
  style(name) {
    return getComputedStyle(this.legend.querySelector(`.${name}`));
  }
}

/** Answers searches in one section of the page. */
class Explorer {
  constructor(root, data) {
    this.root = root;
    this.data = data;
    this.train = new Rows(data.users.train);
    this.heldOut = new Rows(data.users.held_out);
    this.pairStarts = starts(data.pairs.counts);
    this.titles = data.items.titles.map((title) => title.toLowerCase());
    this.answer = root.querySelector(".answer");
    this.status = root.querySelector(".status");
    root.querySelector(".variance").textContent = `${(100 * data.items.variance).toFixed(0)} %`;
    root.querySelector(".body").hidden = false;
    this.map = new ItemMap(root.querySelector("canvas"), root.querySelector(".legend"), data.items,
      (item) => this.showItem(item));
    this.level = Number(root.dataset.level);
    this.listen();
    this.showUser(0);
  }

  listen() {
    const byUser = this.root.querySelector(".by-user"), byItem = this.root.querySelector(".by-item");
    byUser.addEventListener("submit", (event) => {
      event.preventDefault();
      this.findUser(byUser.querySelector("input").value.trim());
    });
    byItem.addEventListener("submit", (event) => {
      event.preventDefault();
      this.findItem(byItem.querySelector("input").value.trim());
    });
    byUser.querySelector(".other").addEventListener("click", () => {
      this.showUser(Math.floor(Math.random() * this.data.users.ids.length));
    });
  }

  /** A heading of the answer, below that of the explorer. */
  heading(text, below = 0) {
    const className = below ? "" : "title";
    return element(`h${this.level + below}`, { tabIndex: -1, className }, text);
  }

  say(text) { this.status.textContent = text; }

  findUser(text) {
    const { ids } = this.data.users, exact = ids.indexOf(text);
    if (exact >= 0) return this.showUser(exact);
    const near = text ? ids.flatMap((id, user) => (id.includes(text) ? [user] : [])) : [];
    if (!near.length) {
      const some = ids.length < this.data.users_in_all ? " among the users that this page holds" : "";
      return this.say(`There is no user “${text}”${some}.`);
    }
    this.say(`No user is called “${text}”; ${count(near.length, "id")} hold${near.length === 1 ? "s" : ""} it.`);
    return this.replace("Users", near.slice(0, FOUND).map((user) => this.userLink(user)));
  }

  findItem(text) {
    const wanted = text.toLowerCase();
    const found = text ? this.titles.flatMap((title, item) => (title.includes(wanted) ? [item] : [])) : [];
    const exact = found.filter((item) => this.titles[item] === wanted);
    if (found.length === 1 || exact.length === 1) return this.showItem((exact[0] ?? found[0]));
    if (!found.length) return this.say(`No title holds “${text}”.`);
    const some = found.length > FOUND ? `; the first ${FOUND} are listed` : "";
    this.say(`${count(found.length, "title")} hold${found.length === 1 ? "s" : ""} “${text}”${some}.`);
    return this.replace("Items", found.slice(0, FOUND).map((item) => this.itemLink(item)));
  }

  /** Put a heading and a list, or anything else, in place of the last answer. */
  replace(title, rows, ...more) {
    this.answer.replaceChildren(this.heading(title), this.list(rows), ...more);
  }

  list(rows) {
    return element("ul", { className: "items" }, ...rows.map((row) => element("li", {}, row)));
  }

  link(text, act) {
    return element("button", { type: "button", className: "link", onclick: act }, text);
  }

  userLink(user) {
    return this.link(this.data.users.ids[user], () => this.showUser(user, true));
  }

  itemLink(item) {
    return this.link(this.data.items.titles[item], () => this.showItem(item, true));
  }

  /** A list of which only the first rows are made until all are asked for. */
  longList(rows, make) {
    const whole = element("div", {}, this.list(rows.slice(0, SHOWN).map(make)));
    if (rows.length > SHOWN) {
      const all = element("button", { type: "button" }, `Show all ${rows.length.toLocaleString("en")}`);
      all.onclick = () => {
        whole.replaceChildren(this.list(rows.map(make)));
        whole.querySelectorAll("button")[SHOWN].focus();
      };
      whole.append(all);
    }
    return whole;
  }

  showUser(user, focus = false) {
    const { users } = this.data;
    const liked = this.train.of(user), held = this.heldOut.of(user), negatives = this.negatives(user);
    const heading = this.heading(`User ${users.ids[user]}`);
    const parts = [heading];
    if (users.profiles) {
      const writer = element("span", { className: "writer" }, ` (profile: ${users.writers[user]})`);
      parts.push(element("p", {}, users.profiles[user], writer));
    }
    parts.push(this.negativesTable(negatives, new Set(held)));
    parts.push(element("div", { className: "lists" },
      element("section", {}, this.heading(count(liked.length, "training item"), 1),
        this.longList(liked, (item) => this.itemLink(item))),
      element("section", {}, this.heading(count(held.length, "held-out positive"), 1),
        this.longList(held, (item) => this.itemLink(item)))));
    this.answer.replaceChildren(...parts);
    this.markUser(user, liked, held, negatives);
    if (focus) heading.focus();
  }

  /** The pairs of a user: the positive, what the synthesised negative is near, what samplers pick. */
  negatives(user) {
    const { pairs } = this.data, found = [];
    for (let pair = this.pairStarts[user]; pair < this.pairStarts[user + 1]; pair += 1) {
      const near = [];
      for (let place = pair * pairs.nearest; place < (pair + 1) * pairs.nearest; place += 1) {
        if (pairs.synthesised[place] >= 0) {
          near.push({ item: pairs.synthesised[place], cosine: pairs.cosines[place] / 100 });
        }
      }
      const picks = Object.entries(pairs.picks).map(([name, items]) => [name, items[pair]]);
      found.push({ positive: pairs.positives[pair], near, picks: Object.fromEntries(picks) });
    }
    return found;
  }

  negativesTable(negatives, held) {
    const names = Object.keys(this.data.pairs.picks), head = ["Training item"];
    if (this.data.pairs.nearest) head.push("Nearest to the synthesised negative");
    head.push(...names.map((name) => `${name} picks`));
    const marked = (item) => (held.has(item)
      ? [element("span", { className: "false" }, "false: held-out positive")] : []);
    const body = negatives.map(({ positive, near, picks }) => {
      const row = element("tr", {}, element("th", { scope: "row" }, this.itemLink(positive)));
      if (this.data.pairs.nearest) {
        row.append(element("td", {}, this.list(near.map(({ item, cosine }) => {
          const how = element("span", { className: "number" }, cosine.toFixed(2));
          return element("div", { className: "near" }, how,
            element("div", {}, this.itemLink(item), ...marked(item)));
        }))));
      }
      for (const name of names) {
        const item = picks[name];
        row.append(element("td", {}, ...(item >= 0 ? [this.itemLink(item), ...marked(item)] : ["-"])));
      }
      return row;
    });
    const caption = "Negatives of the user's first training pairs; numbers are cosines to the synthesised negative.";
    const columns = head.map((name) => element("th", { scope: "col" }, name));
    const table = element("table", {}, element("caption", {}, element("span", {}, caption)),
      element("thead", {}, element("tr", {}, ...columns)), element("tbody", {}, ...body));
    return element("div", { className: "scroll", role: "region", tabIndex: 0, "aria-label": caption }, table);
  }

  markUser(user, liked, held, negatives) {
    const dns = negatives.map(({ picks }) => picks.DNS).filter((item) => item >= 0);
    const synthesised = negatives.flatMap(({ near }) => near.map(({ item }) => item));
    const isHeld = new Set(held), falses = (items) => items.filter((item) => isHeld.has(item)).length;
    this.say(`User ${this.data.users.ids[user]}: ${count(liked.length, "training item")}, ${count(held.length, "held-out positive")}; false among the negatives shown: ${falses(synthesised)} of ${synthesised.length} synthesised, ${falses(dns)} of ${dns.length} of DNS.`);
    this.map.mark({ liked, held, dns, synthesised }, `Map of ${count(this.titles.length, "item")}: of user ${this.data.users.ids[user]}, ${liked.length} training items, ${held.length} held-out positives, ${dns.length} picks of DNS and ${synthesised.length} items nearest to synthesised negatives are marked.`);
  }

  showItem(item, focus = false) {
    const { items } = this.data, who = this.train.holding(item);
    const heading = this.heading(items.titles[item]);
    const some = this.data.users.ids.length < this.data.users_in_all ? " (of those in this page)" : "";
    this.answer.replaceChildren(heading,
      element("p", {}, items.texts[item] || "No other text is known of it."),
      element("p", {}, `Item ${items.ids[item]}, in the training part of ${count(items.popularity[item], "user")}.`),
      this.heading(`Users who have it in training${some}`, 1),
      this.longList(who, (user) => this.userLink(user)));
    this.say(`Item “${items.titles[item]}”: ${count(items.popularity[item], "user")} in training.`);
    this.map.mark({ liked: [item], held: [], dns: [], synthesised: [] },
      `Map of ${count(this.titles.length, "item")}; “${items.titles[item]}” is marked.`);
    if (focus) heading.focus();
  }
}

/** Unpack and start one explorer; what goes wrong is said in its place. */
async function start(root) {
  try {
    const explorer = new Explorer(root, await unpack(root.querySelector(".data").textContent));
    document.addEventListener("themechange", () => explorer.map.draw());
  } catch (error) {
    root.querySelector(".status").textContent = error.message;
  }
}

/** Show the system's colours until the reader chooses others. */
function setUpTheme() {
  const button = document.getElementById("theme"), root = document.documentElement;
  const system = window.matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
  const changed = () => {
    button.setAttribute("aria-pressed", String(isDark()));
    document.dispatchEvent(new Event("themechange"));
  };
  system.addEventListener("change", changed);
  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    changed();
  });
  button.hidden = false;
  changed();
}

setUpTheme();
document.querySelectorAll(".explorer").forEach(start);

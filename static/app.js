// Mnemosyne. Every page works without this file; it makes them livelier: theme, keys, palette, copying, uploads with
// progress, live fragments. Loaded in the head without delay, so that a chosen theme never flashes.
(() => {
  "use strict";
  const root = document.documentElement;
  const byId = (id) => document.getElementById(id);
  root.classList.add("scripted");

  // -- theme: the system's, or one that was chosen in this browser --------------------------------------------------
  const themes = ["system", "light", "dark"];
  const store = {
    get: (name = "theme") => { try { return localStorage.getItem(name); } catch { return null; } },
    set: (value, name = "theme") => { try { localStorage.setItem(name, value); } catch { /* private mode: for this page only */ } },
  };
  // The profile's choice holds until another one is made in this browser, and again once the profile changes.
  const profileTheme = root.dataset.profileTheme;
  if (profileTheme && profileTheme !== (store.get("profile-theme") ?? "system")) {
    store.set(profileTheme, "profile-theme");
    store.set(profileTheme);
  }
  let theme = themes.includes(store.get()) ? store.get() : profileTheme ?? "system";
  const applyTheme = () => {
    if (theme === "system") delete root.dataset.theme;
    else root.dataset.theme = theme;
    for (const label of document.querySelectorAll("[data-theme-toggle] span")) label.textContent = `Theme: ${theme}`;
  };
  applyTheme();

  // -- small helpers ---------------------------------------------------------------------------------------------------
  const make = (tag, attributes = {}, ...children) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  };
  const isTyping = (target) => target.closest?.("input, textarea, select, [contenteditable]");
  let announced = 0;
  const announce = (text, spacing = 0) => {
    const region = byId("announcer");
    if (!region || Date.now() - announced < spacing || region.textContent === text) return;
    announced = Date.now();
    region.textContent = text;
  };

  // -- copying -----------------------------------------------------------------------------------------------------------
  const copy = async (button) => {
    const source = document.querySelector(button.dataset.copy);
    const label = button.lastChild;
    const before = label.textContent;
    try {
      await navigator.clipboard.writeText(source.textContent);
      label.textContent = "Copied";
    } catch {
      const selection = getSelection();
      selection.selectAllChildren(source);
      label.textContent = "Press Ctrl C";
    }
    announce(label.textContent);
    setTimeout(() => { label.textContent = before; }, 1600);
  };

  // -- palette: pages, libraries, and a search for what was typed --------------------------------------------------------
  let palette;
  const openPalette = () => {
    if (!byId("rail")) return;
    if (!palette) palette = buildPalette();
    palette.open();
  };
  const buildPalette = () => {
    const input = make("input", { type: "text", role: "combobox", "aria-expanded": "true", "aria-controls": "palette-list",
      "aria-autocomplete": "list", "aria-label": "Go to or search", placeholder: "Go to a page or library, or search", autocomplete: "off" });
    const list = make("ul", { id: "palette-list", role: "listbox", "aria-label": "Destinations" });
    const dialog = make("dialog", { class: "palette", "aria-label": "Palette" }, input, list);
    document.body.append(dialog);
    const sprite = document.querySelector(".icon use").getAttribute("href").split("#")[0];
    const icon = (href) => {
      const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
      for (const [name, value] of [["class", "icon"], ["width", 16], ["height", 16], ["aria-hidden", "true"]]) svg.setAttribute(name, value);
      const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
      use.setAttribute("href", href.startsWith("#") ? sprite + href : href);
      svg.append(use);
      return svg;
    };
    const places = new Map();
    const collect = (page) => {
      for (const link of page.querySelectorAll("a[data-go]")) {
        const own = link.querySelector("use") || link.closest(".shelf")?.querySelector("use");
        const label = [...link.childNodes].filter((node) => node.nodeType === 3 || node.title).map((node) => node.title || node.textContent).join("").trim();
        places.set(link.getAttribute("href"), { label: label || link.textContent.trim(), href: link.getAttribute("href"), icon: own ? own.getAttribute("href") : "#right" });
      }
    };
    collect(document);
    places.set("/libraries/new/", { label: "New library", href: "/libraries/new/", icon: "#plus" });
    fetch("/libraries/", { headers: { Accept: "text/html" } }).then((answer) => (answer.ok ? answer.text() : ""))
      .then((html) => { collect(new DOMParser().parseFromString(html, "text/html")); if (dialog.open) show(); }).catch(() => {});
    let options = [];
    let at = 0;
    const choose = (index) => {
      at = Math.max(0, Math.min(index, options.length - 1));
      options.forEach((option, number) => option.setAttribute("aria-selected", String(number === at)));
      options[at]?.scrollIntoView({ block: "nearest" });
      if (options[at]) input.setAttribute("aria-activedescendant", options[at].id);
      else input.removeAttribute("aria-activedescendant");
    };
    const show = () => {
      const text = input.value.trim();
      const words = text.toLowerCase().split(/\s+/).filter(Boolean);
      const found = [...places.values()].filter((place) => words.every((word) => place.label.toLowerCase().includes(word))).slice(0, 12);
      if (text) found.push({ label: `Search for “${text}”`, href: `/search/?q=${encodeURIComponent(text)}`, icon: "#search" });
      list.replaceChildren(...found.map((place, number) => {
        const option = make("li", { role: "option", id: `palette-${number}` }, icon(place.icon), place.label);
        option.addEventListener("click", () => { location.href = place.href; });
        option.dataset.href = place.href;
        return option;
      }));
      options = [...list.children];
      choose(0);
    };
    input.addEventListener("input", show);
    dialog.addEventListener("keydown", (event) => {
      if (event.key === "ArrowDown" || event.key === "ArrowUp") {
        event.preventDefault();
        choose(at + (event.key === "ArrowDown" ? 1 : -1));
      } else if (event.key === "Enter" && options[at]) {
        event.preventDefault();
        location.href = options[at].dataset.href;
      }
    });
    dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
    return { open: () => { input.value = ""; show(); dialog.showModal(); } };
  };

  // -- keys ----------------------------------------------------------------------------------------------------------------
  const step = (forward) => {
    const link = document.querySelector(`[data-step="${forward ? "next" : "previous"}"]`);
    if (link) { location.href = link.href; return; }
    const hits = [...document.querySelectorAll("[data-hit]")];
    if (!hits.length) return;
    const here = hits.indexOf(document.activeElement);
    const next = hits[here < 0 ? 0 : Math.max(0, Math.min(hits.length - 1, here + (forward ? 1 : -1)))];
    next.focus();
    next.closest(".hit").scrollIntoView({ block: "nearest" });
  };
  document.addEventListener("keydown", (event) => {
    if ((event.ctrlKey || event.metaKey) && !event.altKey && !event.shiftKey && event.key.toLowerCase() === "k") {
      event.preventDefault();
      openPalette();
      return;
    }
    if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target) || document.querySelector("dialog[open]")) return;
    if (event.key === "/" && byId("q")) { event.preventDefault(); byId("q").focus(); byId("q").select(); }
    if (event.key === "j" || event.key === "k") step(event.key === "j");
  });

  // -- live fragments: elements with an id take the place of those that have the same, and only what differs changes ----------
  const sameKind = (a, b) => a.nodeType === b.nodeType && a.nodeName === b.nodeName && (a.id || "") === (b.id || "");
  const morph = (old, fresh) => {
    if (old.isEqualNode(fresh)) return;
    if (old.nodeType !== 1) { old.nodeValue = fresh.nodeValue; return; }
    for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name) && name !== "open") old.removeAttribute(name);
    for (const { name, value } of fresh.attributes) {
      if (old.getAttribute(name) !== value && !(name === "open" && old.nodeName === "DETAILS")) old.setAttribute(name, value);
    }
    if (old.content) { old.innerHTML = fresh.innerHTML; return; }
    morphChildren(old, fresh);
  };
  const morphChildren = (old, fresh) => {
    let at = old.firstChild;
    for (const child of [...fresh.childNodes]) {
      let match = at;
      if (child.id) match = [...old.children].find((element) => element.id === child.id) || null;
      else while (match && match.id) match = match.nextSibling;
      if (match && sameKind(match, child)) {
        if (match === at) at = at.nextSibling;
        else old.insertBefore(match, at);
        morph(match, child);
      } else {
        old.insertBefore(document.importNode(child, true), at);
      }
    }
    while (at) { const next = at.nextSibling; at.remove(); at = next; }
  };
  const applyFragment = (html) => {
    const page = make("template");
    page.innerHTML = html;
    for (const fresh of [...page.content.children]) {
      const old = fresh.id && byId(fresh.id);
      if (!old) continue;
      morph(old, fresh);
      for (const part of fresh.querySelectorAll("template[data-for]")) {
        const target = byId(part.dataset.for);
        if (target) morphChildren(target, part.content);
      }
      const state = fresh.id === "job-live" && old.querySelector(".page-head .state");
      if (state) { announce(state.textContent.trim()); continue; }
      const tiles = [...old.querySelectorAll(".tiles > div")].map((tile) => [...tile.children].map((part) => part.textContent.trim()).join(" "));
      const jobs = old.querySelectorAll(".job").length;
      announce(tiles.length ? tiles.join(", ") : `${jobs} running`, 15000);
    }
  };
  const goLive = (element) => {
    let timer;
    const poll = async () => {
      try {
        const answer = await fetch(element.dataset.livePoll, { headers: { Accept: "text/html" } });
        if (answer.ok && !answer.redirected) applyFragment(await answer.text());
      } catch { /* the next turn may reach it */ }
      timer = setTimeout(poll, document.hidden ? 15000 : 3000);
    };
    if (!window.EventSource) { poll(); return; }
    let stream;
    const open = () => {
      stream = new EventSource(element.dataset.live);
      stream.onmessage = (event) => applyFragment(event.data);
      stream.onopen = () => clearTimeout(timer);
      stream.onerror = () => { if (stream.readyState === EventSource.CLOSED) { clearTimeout(timer); poll(); } };
    };
    open();
    addEventListener("pagehide", () => { stream.close(); clearTimeout(timer); });
    addEventListener("pageshow", (event) => { if (event.persisted) open(); });
  };

  // -- uploads: each file by itself, two at a time, with its own progress ----------------------------------------------------
  // Each file comes with its path inside what was dropped: files of one name in several folders are several sources.
  const filesOf = async (transfer) => {
    const roots = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
    if (!roots.length) return bare(transfer.files);
    const found = [];
    const walk = async (entry) => {
      if (entry.isFile) {
        const file = await new Promise((done, fail) => entry.file(done, fail));
        found.push({ file, source: entry.fullPath.replace(/^\/+/, "") });
        return;
      }
      const reader = entry.createReader();
      for (;;) {
        const part = await new Promise((done, fail) => reader.readEntries(done, fail));
        if (!part.length) break;
        for (const child of part) if (!child.name.startsWith(".")) await walk(child);
      }
    };
    for (const entry of roots) await walk(entry);
    return found;
  };
  const bare = (files) => [...files].map((file) => ({ file, source: file.name }));
  const enhanceUpload = (form) => {
    const input = form.querySelector('input[type="file"]');
    const list = form.parentElement.querySelector("[data-uploads]");
    const limit = Number(form.dataset.maxBytes) || Infinity;
    const waiting = [];
    let running = 0;
    let sent = 0;
    let failed = 0;
    const line = (source) => {
      const state = make("span", { class: "muted" }, "waiting");
      const progress = make("progress", { max: "100", value: "0", "aria-label": source });
      const name = make("span", { title: source }, source.length > 48 ? `${source.slice(0, 28)}…${source.slice(-18)}` : source);
      const row = make("li", {}, make("div", {}, name, state), progress);
      list.prepend(row);
      while (list.children.length > 200) list.lastChild.remove();
      return { row, state, progress };
    };
    const finish = (view, word, isBad) => {
      view.state.textContent = word;
      view.state.className = isBad ? "state state-bad" : "state state-good";
      view.progress.remove();
      if (isBad) failed += 1; else sent += 1;
      running -= 1;
      next();
      if (!running && !waiting.length) announce(`${sent} sent${failed ? `, ${failed} refused` : ""}`);
    };
    const next = () => {
      while (running < 2 && waiting.length) {
        const { file, source, view } = waiting.shift();
        running += 1;
        send(file, source, view);
      }
    };
    const outcome = (job) => {
      if (job.deduplicated) return "was here already";
      return job.replaces ? `sent, replaces an earlier ${job.replaces}` : "sent";
    };
    const send = (file, source, view) => {
      if (file.size > limit) { finish(view, "too large", true); return; }
      const body = new FormData();
      body.append("csrfmiddlewaretoken", document.body.dataset.csrf);
      body.append("source_ref", source);
      body.append("file", file, file.name);
      const request = new XMLHttpRequest();
      request.open("POST", form.action);
      request.setRequestHeader("Accept", "application/json");
      request.setRequestHeader("X-CSRFToken", document.body.dataset.csrf);
      request.upload.onprogress = (event) => {
        if (!event.lengthComputable) return;
        view.progress.value = event.loaded / event.total * 100;
        view.state.textContent = event.loaded === event.total ? "being stored" : `${Math.floor(view.progress.value)} %`;
      };
      request.onerror = () => finish(view, "no connection", true);
      request.onload = () => {
        let answer = {};
        try { answer = JSON.parse(request.responseText); } catch { /* a page instead of JSON: the status says enough */ }
        const job = answer.jobs?.[0];
        if (request.status < 300 && job) finish(view, outcome(job), false);
        else finish(view, answer.detail || `refused (${request.status})`, true);
      };
      request.send(body);
    };
    const take = (files) => {
      for (const { file, source } of files) waiting.push({ file, source, view: line(source) });
      next();
    };
    input.addEventListener("change", () => { take(bare(input.files)); input.value = ""; });
    form.addEventListener("submit", (event) => { if (!input.files.length) return; event.preventDefault(); take(bare(input.files)); form.reset(); });
    form.addEventListener("dragover", (event) => { event.preventDefault(); form.classList.add("is-over"); });
    form.addEventListener("dragleave", () => form.classList.remove("is-over"));
    form.addEventListener("drop", async (event) => {
      event.preventDefault();
      form.classList.remove("is-over");
      take(await filesOf(event.dataTransfer));
    });
    addEventListener("beforeunload", (event) => { if (running) event.preventDefault(); });
  };

  // -- start ---------------------------------------------------------------------------------------------------------------------
  document.addEventListener("DOMContentLoaded", () => {
    applyTheme();
    document.body.append(make("div", { id: "announcer", class: "hidden", role: "status" }));
    for (const element of document.querySelectorAll("[data-live]")) goLive(element);
    for (const form of document.querySelectorAll("form[data-upload]")) enhanceUpload(form);
    document.addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (!button) return;
      if (button.dataset.copy) copy(button);
      if ("themeToggle" in button.dataset) {
        theme = themes[(themes.indexOf(theme) + 1) % themes.length];
        store.set(theme);
        applyTheme();
      }
      if ("paletteOpen" in button.dataset) { byId("rail").matches(":popover-open") && byId("rail").hidePopover(); openPalette(); }
    });
    document.addEventListener("submit", (event) => {
      // A second click must not send a form twice; coming back to the page makes it ready again.
      const button = event.submitter;
      if (event.defaultPrevented || !button || event.target.method !== "post") return;
      if (button.getAttribute("aria-busy")) { event.preventDefault(); return; }
      button.setAttribute("aria-busy", "true");
    });
    addEventListener("pageshow", () => { for (const button of document.querySelectorAll("[aria-busy]")) button.removeAttribute("aria-busy"); });
    const target = document.querySelector(".passage.is-target");
    if (target && !location.hash) target.scrollIntoView({ block: "center" });
  });
})();

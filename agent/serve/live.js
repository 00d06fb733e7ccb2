// The page of a run at work brings itself up to date: it asks for itself again, and where the answer differs (by its ETag) changes
// what differs and nothing else, so that focus, selection, scroll positions and opened details stay.
"use strict";
(() => {
  const EVERY = 2000, SLOWEST = 30000;
  const place = document.getElementById("live");
  const words = place.querySelector("span"), button = place.querySelector("button");
  let tag = null, wait = EVERY, paused = false, timer = null;

  const say = (text) => { if (words.textContent !== text) words.textContent = text; };

  function attributes(old, fresh) {
    for (const { name } of [...old.attributes])
      if (!fresh.hasAttribute(name) && !(old.nodeName === "DETAILS" && name === "open")) old.removeAttribute(name);
    for (const { name, value } of fresh.attributes)
      if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }

  function become(old, fresh) {
    const had = [...old.childNodes], now = [...fresh.childNodes];
    now.forEach((node, n) => {
      const there = had[n];
      if (!there) old.appendChild(document.importNode(node, true));
      else if (there.nodeName !== node.nodeName) old.replaceChild(document.importNode(node, true), there);
      else if (node.nodeType !== Node.ELEMENT_NODE) { if (there.data !== node.data) there.data = node.data; }
      else { attributes(there, node); become(there, node); }
    });
    had.slice(now.length).forEach((node) => node.remove());
  }

  async function look() {
    try {
      const asked = tag ? { "If-None-Match": tag } : {};
      const answer = await fetch(location.href, { headers: asked, cache: "no-store" });
      if (answer.status === 200) {
        const page = new DOMParser().parseFromString(await answer.text(), "text/html");
        become(document.getElementById("main"), page.getElementById("main"));
        tag = answer.headers.get("ETag");
        if (!page.getElementById("live")) {
          say("The run is no longer at work.");
          button.remove();
          return;
        }
      } else if (answer.status !== 304) throw new Error(String(answer.status));
      wait = EVERY;
      if (!paused) say("This page brings itself up to date.");
    } catch {
      wait = Math.min(2 * wait, SLOWEST);
      if (!paused) say("The server does not answer; asking again.");
    }
    later();
  }

  function later() {
    clearTimeout(timer);
    if (!paused && !document.hidden) timer = setTimeout(look, wait);
  }

  button.addEventListener("click", () => {
    paused = !paused;
    button.textContent = paused ? "Go on" : "Hold still";
    say(paused ? "This page stands still." : "This page brings itself up to date.");
    if (paused) clearTimeout(timer); else look();
  });
  document.addEventListener("visibilitychange", () => { if (!document.hidden && !paused && button.isConnected) look(); });
  say("This page brings itself up to date.");
  place.hidden = false;
  later();
})();

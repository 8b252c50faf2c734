// Refreshes a page that asks for it and filters rows while one types. Every page works without it.
"use strict";
(() => {
  const main = document.querySelector("main");
  const refresh_s = Number(main.dataset.refresh);
  const box = document.createElement("input");
  const state = document.createElement("small");
  // A browser may forbid it.
  const kept = (() => { try { return localStorage; } catch { return {}; } })();

  // Whoever types, reads something open or marks text keeps the page as it is.
  const isBusy = () =>
    main.querySelector("details[open]") ||
    (main.contains(document.activeElement) && document.activeElement !== main) ||
    [...main.querySelectorAll("input")].some((input) => input.value !== input.defaultValue) ||
    String(getSelection()) !== "";

  const refresh = async () => {
    if (!box.checked || document.hidden || isBusy()) return;
    try {
      const answer = await fetch(location.href, { signal: AbortSignal.timeout(refresh_s * 1000) });
      if (!answer.ok) throw new Error(answer.status);
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const next = page.querySelector("main");
      if (!next || isBusy()) return;
      main.replaceChildren(...next.childNodes);
      main.classList.remove("old");
      state.textContent = "";
    } catch {
      // What is shown is no longer how things are.
      main.classList.add("old");
      state.textContent ||= ` no answer since ${new Date().toISOString().slice(11, 19)} UTC`;
    }
  };

  if (refresh_s > 0) {
    const label = document.createElement("label");
    box.type = "checkbox";
    box.checked = kept.refresh !== "off";
    box.addEventListener("change", () => { kept.refresh = box.checked ? "on" : "off"; });
    label.className = "refresh";
    label.append(box, ` refresh every ${refresh_s} s`, state);
    document.querySelector("nav").append(label);
    setInterval(refresh, refresh_s * 1000);
    document.addEventListener("visibilitychange", refresh);
  }

  // The form asks for all rows there are; as long as it is not sent, those on this page are looked through.
  main.addEventListener("input", ({ target }) => {
    if (!target.matches("form.filter input[name=q]")) return;
    const text = target.value.trim().toLowerCase();
    for (const row of main.querySelectorAll("tbody tr, details.discovered")) {
      row.hidden = !row.closest(".labels") && !row.textContent.toLowerCase().includes(text);
    }
  });
})();

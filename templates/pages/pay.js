(function () {
  var card = document.querySelector("[data-live]"), source = null, timer = 0;
  function each(selector, act) { Array.prototype.forEach.call(document.querySelectorAll(selector), act); }
  function stop() { if (source) source.close(); source = null; clearTimeout(timer); }
  function listen() {
    if (source || document.hidden) return;
    source = new EventSource(card.getAttribute("data-live"));
    source.onmessage = function () { stop(); location.reload(); };
    source.onerror = function () {
      if (source && source.readyState === 2) { stop(); timer = setTimeout(listen, 30000 + 60000 * Math.random()); }
    };
  }
  if (card && window.EventSource) {
    document.addEventListener("visibilitychange", function () { if (document.hidden) stop(); else listen(); });
    listen();
    each(".js", function (note) { note.hidden = false; });
  }
  if (navigator.clipboard) each("[data-copy]", function (button) {
    button.hidden = false;
    each(".nojs", function (note) { note.hidden = true; });
    button.addEventListener("click", function () {
      navigator.clipboard.writeText(button.getAttribute("data-copy")).then(function () {
        button.textContent = button.getAttribute("data-done");
      }, function () { button.hidden = true; });
    });
  });
})();

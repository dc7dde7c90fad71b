/* The sandbox page: asks for the state when something changed and redraws the parts that differ.
   Everything a customer or a template wrote becomes text nodes, never markup. Plain ES5, for old phones. */
(function () {
  "use strict";

  var PROVIDERS = [
    ["twilio", "Twilio: SMS and WhatsApp"], ["africastalking", "Africa's Talking: SMS"],
    ["telegram", "Telegram"], ["smtp", "Email"], ["clickpesa", "ClickPesa"]
  ];
  var MODES = [["ok", "OK"], ["slow", "Slow"], ["failing", "Failing"], ["throttling", "Throttling"]];
  var CHANNELS = { sms: "SMS", whatsapp: "WhatsApp", telegram: "Telegram", email: "mail" };
  var ERRORS = {
    "63016": "outside the 24 h window", "63024": "not on WhatsApp", "63003": "not on WhatsApp",
    "63013": "template refused", "30005": "unknown number", "30003": "phone is off"
  };
  var RATES = [[0, "Never"], [0.01, "1 %"], [0.02, "2 %"], [0.05, "5 %"], [0.1, "10 %"], [0.2, "20 %"], [0.5, "50 %"], [1, "Always"]];
  var known = null;      // profiles and kinds of faults, asked for once
  var drawn = {};        // part of the page -> JSON it was drawn from
  var seen = {};         // message ids already shown, so that only new ones move
  var state = null, skew = 0, asking = false, askAgain = false, sayTimer = null;

  function byId(id) { return document.getElementById(id); }

  function el(tag, attributes) {
    var node = document.createElement(tag), name, i, child;
    for (name in attributes || {}) {
      if (name === "onclick" || name === "onchange" || name === "onsubmit") { node[name] = attributes[name]; }
      else if (name === "value" || name === "checked" || name === "disabled" || name === "open") { node[name] = attributes[name]; }
      else if (attributes[name] !== null && attributes[name] !== undefined) { node.setAttribute(name, attributes[name]); }
    }
    for (i = 2; i < arguments.length; i++) {
      child = arguments[i];
      if (child === null || child === undefined || child === false) { continue; }
      node.appendChild(typeof child === "object" ? child : document.createTextNode(String(child)));
    }
    return node;
  }

  function fill(node, children) {
    while (node.firstChild) { node.removeChild(node.firstChild); }
    children.forEach(function (child) { if (child) { node.appendChild(child); } });
  }

  /* Draw `part` only if what it shows changed. Returns whether it did. */
  function differs(part, facts) {
    var text = JSON.stringify(facts);
    if (drawn[part] === text) { return false; }
    drawn[part] = text;
    return true;
  }

  function two(n) { return (n < 10 ? "0" : "") + n; }
  function clock(ms) {
    var at = new Date(ms);
    return two(at.getHours()) + ":" + two(at.getMinutes()) + ":" + two(at.getSeconds());
  }
  function money(amount) {
    var parts = String(amount).split(".");
    return "TZS " + parts[0].replace(/\B(?=(\d{3})+$)/g, ",") + (parts[1] ? "." + parts[1] : "");
  }
  function seconds(ms) { return ms < 10000 ? (ms / 1000).toFixed(1) + " s" : Math.round(ms / 1000) + " s"; }
  function serverNow() { return Date.now() + skew; }

  /* Asking the sandbox */

  function say(text) {
    var box = byId("says");
    box.textContent = text;
    box.hidden = false;
    clearTimeout(sayTimer);
    sayTimer = setTimeout(function () { box.hidden = true; }, 6000);
  }

  function act(path, body) {
    return fetch("/api/" + path, {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body)
    }).then(function (answer) {
      return answer.json().then(function (said) { if (!answer.ok) { say(said.error || "That did not work."); } });
    }).catch(function () { say("The sandbox does not answer."); });
  }

  function refresh() {
    if (asking) { askAgain = true; return; }
    asking = true;
    fetch("/api/state?find=" + encodeURIComponent(byId("find").value)).then(function (answer) {
      return answer.json();
    }).then(function (fresh) {
      state = fresh;
      skew = fresh.now - Date.now();
      draw();
    }).catch(function () { live(false); }).then(function () {
      asking = false;
      if (askAgain) { askAgain = false; refresh(); }
    });
  }

  function live(on) {
    var badge = byId("live");
    badge.className = "live " + (on ? "on" : "off");
    badge.textContent = on ? "Live" : "Not connected. Trying again…";
  }

  function listen() {
    if (!window.EventSource) { setInterval(refresh, 2000); live(true); refresh(); return; }
    var events = new EventSource("/api/events");
    events.onopen = function () { live(true); };
    events.onmessage = function () { live(true); refresh(); };
    events.onerror = function () { live(false); };
  }

  /* Providers. Redrawn only when somebody chose something: counts change in place, so that nothing moves under a finger. */

  function drawProviders() {
    drawWeather();
    if (differs("providers", [state.faults, chosenRates(), Boolean(known)])) {
      var focused = document.activeElement && document.activeElement.id;
      PROVIDERS.forEach(function (pair) {
        var details = byId("faults-" + pair[0]);
        opened[pair[0]] = Boolean(details && details.open);
      });
      fill(byId("providers"), PROVIDERS.map(provider));
      if (focused && byId(focused)) { byId(focused).focus(); }
    }
    PROVIDERS.forEach(function (pair) { countAt(pair[0]); });
  }

  var opened = {};

  function plansOf(provider, contacts) {
    return state.weather.plans.filter(function (plan) {
      return plan.provider === provider && (contacts ? contacts.indexOf(plan.contact) >= 0 : plan.contact === null);
    });
  }

  function planOf(provider, kind) { return plansOf(provider).filter(function (plan) { return plan.kind === kind; })[0]; }

  function chosenRates() {
    return state.weather.plans.filter(function (plan) { return plan.contact === null && plan.rate; })
      .map(function (plan) { return [plan.provider, plan.kind, plan.rate]; });
  }

  function percent(rate) { return rate === 1 ? "always" : Math.round(rate * 1000) / 10 + " %"; }

  function countAt(key) {
    var took = state.accepted[key] || 0, plans = plansOf(key), on = 0, met = 0;
    byId("count-" + key).textContent = key === "clickpesa" ? "Bills and payments"
      : took + (took === 1 ? " message taken" : " messages taken");
    state.weather.plans.forEach(function (plan) { if (plan.provider === key) { met += plan.met; } });
    plans.forEach(function (plan) { on += plan.rate || plan.left ? 1 : 0; });
    byId("summary-" + key).textContent = "Faults: " + (on ? on + " on" : "none") + (met ? ", " + met + " met" : "");
    if (!known) { return; }
    known.kinds[key].forEach(function (kind) {
      var plan = planOf(key, kind.name), words = [];
      if (plan && plan.left) { words.push("next " + plan.left); }
      if (plan && plan.met) { words.push("met " + plan.met); }
      byId("met-" + key + "-" + kind.name).textContent = words.join(", ");
    });
  }

  function faultRow(key, kind) {
    var plan = planOf(key, kind.name), id = "rate-" + key + "-" + kind.name;
    return el("li", {}, el("label", { "for": id }, kind.words), el("span", { "class": "met", id: "met-" + key + "-" + kind.name }),
      rateSelect(id, plan ? plan.rate : 0, function (rate) {
        return act("faults", { provider: key, kind: kind.name, rate: rate }).then(refresh);
      }),
      el("button", { type: "button", id: "next-" + key + "-" + kind.name, "aria-label": "Next request: " + kind.words,
        onclick: function () { act("faults", { provider: key, kind: kind.name, next: nextOf(key, kind.name) + 1 }); } }, "Next one"));
  }

  function nextOf(key, kind) { var plan = planOf(key, kind); return plan ? plan.left : 0; }

  function rateSelect(id, rate, choose) {
    var select = el("select", { id: id }), rates = RATES.slice();
    if (!rates.some(function (each) { return each[0] === rate; })) { rates.push([rate, percent(rate)]); }
    rates.forEach(function (each) { select.appendChild(el("option", { value: String(each[0]) }, each[1])); });
    select.value = String(rate);
    if (choose) { select.onchange = function () { choose(Number(select.value)); }; }
    return select;
  }

  function faultList(key) {
    var list = el("ul", { "class": "kinds" });
    (known ? known.kinds[key] : []).forEach(function (kind) { list.appendChild(faultRow(key, kind)); });
    var box = el("details", { "class": "faults", id: "faults-" + key, open: Boolean(opened[key]) },
      el("summary", { id: "summary-" + key }, "Faults"), list);
    box.ontoggle = function () { widen(box); };
    return box;
  }

  /* An open list takes the whole width. */
  function widen(box) { box.parentNode.className = "provider" + (box.open ? " wide" : ""); }

  function drawWeather() {
    var byHand = setByHand();
    if (!known || !differs("weather", [state.weather.profile, state.weather.seed, byHand])) { return; }
    var now = state.weather.profile, names = known.profiles.slice(), box = byId("profile");
    if (!names.some(function (each) { return each.name === now; })) { names.push({ name: now, about: "Rates of your own." }); }
    fill(box, names.map(function (each) { return el("option", { value: each.name }, each.name); }));
    box.value = now;
    byId("seed").value = state.weather.seed;
    var about = names.filter(function (each) { return each.name === now; })[0].about;
    byId("about").textContent = !byHand ? about : now === "calm" ? byHand : byHand + " Besides: " + about;
  }

  /* What goes wrong beyond the profile, in words; nothing if nothing does. */
  function setByHand() {
    var words = PROVIDERS.filter(function (pair) { return state.faults[pair[0]] !== "ok"; }).map(function (pair) {
      return pair[1].split(":")[0] + " is " + state.faults[pair[0]];
    });
    if (state.weather.plans.some(function (plan) { return plan.left || (plan.rate && plan.contact !== null); })) {
      words.push("some requests meet a fault");
    }
    return words.length ? "Set by hand: " + words.join(", ") + "." : "";
  }

  function useProfile() {
    var seed = byId("seed").value.trim();
    if (byId("profile").value === "custom") { return; }
    act("profile", { name: byId("profile").value, seed: seed === "" ? null : Number(seed) }).then(refresh);
  }

  function learn() {
    fetch("/api/faults").then(function (answer) { return answer.json(); }).then(function (told) {
      known = told;
      if (state) { draw(); }
    });
  }

  function provider(pair) {
    var key = pair[0], modes = el("div", { "class": "modes" });
    MODES.forEach(function (mode) {
      modes.appendChild(el("label", {}, el("input", {
        type: "radio", name: "mode-" + key, id: "mode-" + key + "-" + mode[0], value: mode[0],
        checked: state.faults[key] === mode[0],
        onchange: function () { act("faults", { provider: key, mode: mode[0] }); }
      }), el("span", {}, mode[1])));
    });
    return el("fieldset", { "class": "provider" + (opened[key] ? " wide" : ""), "data-provider": key }, el("legend", {}, pair[1]),
      el("p", { "class": "count", id: "count-" + key }), modes, faultList(key));
  }

  /* People */

  function draw() {
    drawProviders();
    drawLoose();
    drawPeople();
    tick();
  }

  function drawLoose() {
    byId("loose-section").hidden = !state.loose.length;
    if (differs("loose", state.loose)) { redrawKept(byId("loose"), state.loose.map(bill)); }
  }

  function drawPeople() {
    var people = state.people.filter(function (p) { return p.name || p.bills.length || p.sms.length || p.whatsapp.length ||
      p.email_messages.length || p.telegram.messages.length; });
    var box = byId("people"), wanted = {}, hidden = state.total - state.people.length;
    people.forEach(function (person, index) {
      wanted["person-" + person.key] = true;
      var node = byId("person-" + person.key) || newPerson(person);
      if (box.children[index] !== node) { box.insertBefore(node, box.children[index] || null); }
      drawPerson(person);
    });
    Array.prototype.slice.call(box.children).forEach(function (node) {
      if (!wanted[node.id]) { box.removeChild(node); forget(node.id.slice(7)); }
    });
    var empty = byId("empty");
    empty.hidden = people.length > 0 && !hidden;
    empty.textContent = people.length ? "And " + hidden + " more: find them by name, phone or number."
      : byId("find").value ? "Nobody here is called that." : "Nobody has got a message yet. Share a bill with tuma and it appears here.";
  }

  function forget(key) {
    Object.keys(drawn).forEach(function (part) { if (part.indexOf(key + "/") === 0) { delete drawn[part]; } });
  }

  function part(person, name) { return byId(person.key + "-" + name); }

  function newPerson(person) {
    var k = person.key, box = el("article", { "class": "person", id: "person-" + k, "aria-labelledby": k + "-name" },
      el("div", { "class": "who", id: k + "-who" }),
      ownFaults(person),
      el("div", { "class": "row" },
        el("div", { "class": "bills", id: k + "-bills" }),
        pane(person, "sms", "SMS"),
        pane(person, "whatsapp", "WhatsApp", "Write to the merchant", function (text) {
          return act("whatsapp", { phone: find(k).phone, text: text });
        }),
        pane(person, "telegram", "Telegram", "Write to the bot", function (text) {
          return act("telegram/write", { chat: find(k).chat, text: text });
        }),
        pane(person, "mail", "Mailbox")));
    byId("people").appendChild(box);
    return box;
  }

  function find(key) { return state.people.filter(function (p) { return p.key === key; })[0]; }

  function pane(person, name, title, hint, send) {
    var k = person.key;
    var box = el("section", { "class": "pane " + name, id: k + "-" + name, "aria-label": title },
      el("h4", {}, title, el("span", { id: k + "-" + name + "-state" })),
      el("div", { "class": "thread", id: k + "-" + name + "-thread", tabindex: "0", role: "log", "aria-label": title + " messages" }),
      el("div", { "class": "replies", id: k + "-" + name + "-replies" }));
    if (send) {
      var input = el("input", { type: "text", placeholder: hint, "aria-label": hint, autocomplete: "off" });
      box.appendChild(el("form", { "class": "foot", onsubmit: function () {
        if (input.value.trim()) { send(input.value); input.value = ""; }
        return false;
      } }, input, el("button", { type: "submit" }, "Send")));
    }
    return box;
  }

  function drawPerson(person) {
    var k = person.key, tg = person.telegram;
    if (differs(k + "/who", [person.name, person.phone, person.email, person.chat, person.out, tg.blocked, tg.started, person.has_whatsapp, person.staff])) {
      fill(part(person, "who"), who(person));
    }
    drawOwnFaults(person);
    part(person, "bills").hidden = !person.bills.length;
    if (differs(k + "/bills", person.bills)) { redrawKept(part(person, "bills"), person.bills.map(bill)); }
    drawPane(person, "sms", person.sms, person.phone && person.sms.length);
    drawPane(person, "whatsapp", person.whatsapp, person.phone && person.whatsapp.length);
    drawPane(person, "mail", person.email_messages, person.email);
    drawTelegram(person);
  }

  function who(person) {
    var tg = person.telegram;
    return [
      el("h3", { id: person.key + "-name" }, person.name || person.phone || person.email || "Telegram " + person.chat),
      person.staff ? el("span", { "class": "tag" }, "Staff") : null,
      person.name && person.phone ? el("span", { "class": "address" }, person.phone) : null,
      person.email && (person.name || person.phone) ? el("span", { "class": "address" }, person.email) : null,
      el("span", { "class": "push" }),
      person.phone ? el("label", { "class": "check" }, el("input", { type: "checkbox", checked: person.has_whatsapp,
        onchange: function () { act("whatsapp/user", { phone: person.phone, has: this.checked }); } }), "Has WhatsApp") : null,
      tg.started || tg.blocked ? el("button", { type: "button", onclick: function () {
        act("telegram/block", { chat: person.chat, blocked: !tg.blocked });
      } }, tg.blocked ? "Unblock the bot" : "Block the bot") : null,
      person.out ? el("a", { href: person.out, target: "_blank", rel: "noopener noreferrer" }, "Opt out (opens the link)") : null
    ];
  }

  /* Faults that only one customer meets */

  function contactsOf(person) {
    var found = { twilio: person.phone, telegram: person.chat ? String(person.chat) : null, smtp: person.email };
    return Object.keys(found).filter(function (key) { return found[key]; }).map(function (key) { return [key, found[key]]; });
  }

  function ownFaults(person) {
    var k = person.key;
    return el("details", { "class": "faults own", id: k + "-faults" }, el("summary", { id: k + "-faults-summary" }, "Faults for this customer"),
      el("ul", { "class": "kinds", id: k + "-faults-list" }),
      el("div", { "class": "add" }, el("select", { id: k + "-faults-kind", "aria-label": "Fault for this customer" }),
        rateSelect(k + "-faults-rate", 1),
        el("button", { type: "button", onclick: function () { chooseOwn(k, "rate", Number(byId(k + "-faults-rate").value)); } }, "Set rate"),
        el("button", { type: "button", onclick: function () { chooseOwn(k, "next", 1); } }, "Next one")));
  }

  function chooseOwn(key, what, value) {
    var chosen = byId(key + "-faults-kind").value.split(" "), body = { provider: chosen[0], kind: chosen[1] };
    contactsOf(find(key)).forEach(function (pair) { if (pair[0] === chosen[0]) { body.contact = pair[1]; } });
    body[what] = value;
    return act("faults", body);
  }

  function drawOwnFaults(person) {
    if (!known) { return; }
    var k = person.key, contacts = contactsOf(person), plans = [];
    contacts.forEach(function (pair) {
      plans = plans.concat(plansOf(pair[0], [pair[1].toLowerCase(), "whatsapp:" + pair[1]]));
    });
    if (differs(k + "/contacts", contacts)) { fill(byId(k + "-faults-kind"), contacts.map(kindGroup)); }
    if (!differs(k + "/faults", plans)) { return; }
    var on = plans.filter(function (plan) { return plan.rate || plan.left; }).length;
    byId(k + "-faults-summary").textContent = "Faults for this customer" + (on ? ": " + on + " on" : "");
    fill(byId(k + "-faults-list"), plans.map(ownPlan));
  }

  function kindGroup(pair) {
    var title = PROVIDERS.filter(function (each) { return each[0] === pair[0]; })[0][1], group = el("optgroup", { label: title });
    known.kinds[pair[0]].forEach(function (kind) {
      if (["connect", "ehlo", "mail"].indexOf(kind.point) >= 0) { return; }  // nobody is named yet at these steps
      group.appendChild(el("option", { value: pair[0] + " " + kind.name }, kind.words));
    });
    return group;
  }

  function ownPlan(plan) {
    var kind = known.kinds[plan.provider].filter(function (each) { return each.name === plan.kind; })[0], words = [];
    if (plan.rate) { words.push(percent(plan.rate)); }
    if (plan.left) { words.push("next " + plan.left); }
    if (plan.met) { words.push("met " + plan.met); }
    return el("li", {}, el("span", { "class": "what" }, kind.words), el("span", { "class": "met" }, words.join(", ")),
      plan.rate || plan.left ? el("button", { type: "button", onclick: function () {
        act("faults", { provider: plan.provider, kind: plan.kind, contact: plan.contact, rate: 0, next: 0 });
      } }, "Take back") : null);
  }

  /* Bills */

  function bill(b) {
    var owed = b.owed === null ? null : Number(b.owed), payable = b.active;
    return el("div", { "class": "bill", "data-bill": b.number },
      el("div", { "class": "head" }, el("span", { "class": "number" }, b.number), badge(b)),
      el("p", { "class": "owed" }, b.amount === null ? "Amount not known" : b.settled || owed === 0 ? money(b.amount) : money(b.owed) + " to pay"),
      el("p", { "class": "facts" }, facts(b)),
      payable ? payButtons(b, owed) : null,
      payable ? otherAmount(b) : null,
      note(b));
  }

  function badge(b) {
    if (b.settled && Number(b.owed || 0) > 0) { return el("span", { "class": "tag warn" }, "Closed, part paid"); }
    if (b.settled) { return el("span", { "class": "tag good" }, "Paid"); }
    if (!b.active) { return el("span", { "class": "tag bad" }, "Inactive"); }
    return Number(b.paid) > 0 ? el("span", { "class": "tag warn" }, "Part paid") : el("span", { "class": "tag" }, "Open");
  }

  function facts(b) {
    var words = [b.source === "read" ? "number read in the message, its kind is not known here" : b.kind + " number"];
    if (b.exact) { words.push("exact amount only"); }
    if (Number(b.paid) > 0) { words.push("paid " + money(b.paid) + (b.amount ? " of " + money(b.amount) : "")); }
    return words.join(", ");
  }

  function payButtons(b, owed) {
    if (!owed) { return null; }
    var step = owed >= 2000 ? 1000 : owed >= 20 ? 10 : 1, half = Math.max(Math.round(owed / 2 / step) * step, step / 10);
    function pays(label, amount, style) {
      return el("button", { type: "button", "class": style, "data-pay": label, onclick: function () { pay(b, amount); } },
        "Pay " + label, el("small", {}, money(amount)));
    }
    return el("div", { "class": "pays" }, pays("full", b.owed, "main"), pays("part", half, ""),
      pays("too much", owed + step * 5, ""),
      el("button", { type: "button", "data-pay": "fail", onclick: function () { act("fail", { number: b.number }); } },
        "Fail", el("small", {}, "no balance")));
  }

  function pay(b, amount) {
    var wallet = byId("wallet-" + b.number);
    return act("pay", { number: b.number, amount: String(amount), wallet: wallet ? wallet.value : null });
  }

  function otherAmount(b) {
    var input = el("input", { type: "text", inputmode: "decimal", placeholder: "Other amount", "aria-label": "Other amount for " + b.number,
      "data-keep": "amount-" + b.number, autocomplete: "off" });
    var select = el("select", { id: "wallet-" + b.number, "aria-label": "Wallet for " + b.number, "data-keep": "wallet-" + b.number });
    state.wallets.forEach(function (wallet) { select.appendChild(el("option", { value: wallet }, wallet)); });
    return el("form", { "class": "other", onsubmit: function () {
      if (input.value.trim()) { pay(b, input.value.trim()); input.value = ""; }
      return false;
    } }, select, input, el("button", { type: "submit" }, "Pay"));
  }

  function note(b) {
    var last = b.payments[b.payments.length - 1];
    if (!last) { return null; }
    if (!last.counts) {
      return el("div", { "class": "note bad" }, el("strong", {}, "Failed at " + clock(last.at) + ": " + last.message), heard(last));
    }
    var box = el("div", { "class": "note" + (b.after && b.after.more && b.settled ? " warn" : "") },
      el("strong", {}, "Paid " + money(last.amount) + " at " + clock(last.at)), heard(last));
    if (b.after) { afterPaying(b, box); }
    return box;
  }

  function heard(payment) {
    if (payment.webhook_status === null) { return el("p", {}, "Webhook on its way or not set up."); }
    if (payment.webhook_status === 0) { return el("p", {}, "Nobody answered the webhook."); }
    return el("p", {}, "Webhook answered " + payment.webhook_status + " in " + Math.round(payment.webhook_ms) + " ms.");
  }

  function afterPaying(b, box) {
    var after = b.after;
    var receipts = after.receipts.map(function (r) { return CHANNELS[r.channel] + " after " + seconds(r.ms); });
    box.appendChild(el("p", {}, receipts.length ? "Answered by " + receipts.join(", ") + "." : "No receipt yet."));
    if (!b.settled) { return; }
    if (after.more) {
      box.appendChild(el("p", {}, after.more + " more message" + (after.more > 1 ? "s" : "") + " after that. Look at what came."));
      return;
    }
    box.appendChild(el("p", { "class": "quiet", "data-paid": after.paid_at, "data-next": after.next || "", "data-before": after.before }));
  }

  /* Sentences that depend on the time */
  function tick() {
    Array.prototype.forEach.call(document.querySelectorAll(".quiet"), function (node) {
      var next = Number(node.getAttribute("data-next")), paid = Number(node.getAttribute("data-paid")), now = serverNow();
      var text = "No reminder since, for " + seconds(Math.max(now - paid, 0)) + ".";
      if (next && now > next + 1000) { text += " By the rhythm so far one was due about " + clock(next) + ": it did not come."; }
      else if (next) { text += " By the rhythm so far the next is due about " + clock(next) + "."; }
      if (node.textContent !== text) { node.textContent = text; }
    });
  }

  /* Redraw, but keep what somebody is typing */
  function redrawKept(box, children) {
    var kept = {}, active = document.activeElement, focus = active && active.getAttribute("data-keep");
    Array.prototype.forEach.call(box.querySelectorAll("[data-keep]"), function (input) { kept[input.getAttribute("data-keep")] = input.value; });
    fill(box, children);
    Array.prototype.forEach.call(box.querySelectorAll("[data-keep]"), function (input) {
      var name = input.getAttribute("data-keep");
      if (kept[name]) { input.value = kept[name]; }
      if (name === focus) { input.focus(); }
    });
  }

  /* Messages */

  function drawPane(person, name, messages, wanted) {
    part(person, name).hidden = !wanted;
    if (!wanted || !differs(person.key + "/" + name, messages)) { return; }
    if (name === "mail") { drawMails(person, messages); return; }
    drawThread(person, name, messages.map(function (m) { return bubble(person, name, m); }));
  }

  function drawThread(person, name, nodes) {
    var thread = byId(person.key + "-" + name + "-thread");
    var atEnd = thread.scrollHeight - thread.scrollTop - thread.clientHeight < 60;
    fill(thread, nodes.length ? nodes : [el("p", { "class": "nothing" }, "Nothing yet.")]);
    if (atEnd || !thread.scrollTop) { thread.scrollTop = thread.scrollHeight; }
  }

  function bubble(person, name, m) {
    var key = name + m.id, fresh = !seen[key], away = m.out && !m.arrived, lost = away && m.error;
    seen[key] = true;
    return el("div", { "class": (m.out ? "" : "mine ") + (away ? "away " : "") + (lost ? "lost " : "") + (fresh ? "fresh" : "") },
      el("div", { "class": "bubble" }, formatted(person, m)),
      m.keyboard ? keys(person, m) : null,
      el("div", { "class": "meta" }, clock(m.at) + (m.out ? ", " + fate(m, away) : "")));
  }

  function fate(m, away) {
    if (m.error) { return "did not arrive: " + m.error + (ERRORS[m.error] ? " " + ERRORS[m.error] : ""); }
    if (away) { return "on its way (" + m.status + ")"; }
    return m.edited ? "edited " + clock(m.edited * 1000) : m.status;
  }

  /* Text with Telegram's entities (UTF-16 offsets, as JavaScript counts) and links */
  function formatted(person, m) {
    var box = el("span"), cuts = [0, m.text.length], entities = m.entities || [];
    entities.forEach(function (e) { cuts.push(e.offset, e.offset + e.length); });
    cuts.sort(function (a, b) { return a - b; });
    for (var i = 0; i + 1 < cuts.length; i++) {
      if (cuts[i] < cuts[i + 1]) { box.appendChild(styled(person, m.text.slice(cuts[i], cuts[i + 1]), within(entities, cuts[i]))); }
    }
    return box;
  }

  function within(entities, at) {
    return entities.filter(function (e) { return e.offset <= at && at < e.offset + e.length; });
  }

  function styled(person, text, entities) {
    var tags = { bold: "b", italic: "i", underline: "u", strikethrough: "s", code: "code", pre: "code", blockquote: "i" };
    var link = entities.filter(function (e) { return e.url; })[0];
    var node = link ? anchor(person, link.url, text) : linked(person, text);
    entities.forEach(function (e) {
      if (tags[e.type]) { node = el(tags[e.type], {}, node); }
      if (e.type === "spoiler") { node = el("span", { "class": "spoiler" }, node); }
    });
    return node;
  }

  function linked(person, text) {
    var box = el("span"), pattern = /https?:\/\/[^\s<>"]+[^\s<>".,;:!?)]/g, last = 0, match;
    while ((match = pattern.exec(text))) {
      box.appendChild(document.createTextNode(text.slice(last, match.index)));
      box.appendChild(anchor(person, match[0], match[0]));
      last = match.index + match[0].length;
    }
    box.appendChild(document.createTextNode(text.slice(last)));
    return box;
  }

  function startOf(url) {
    var match = /^https:\/\/t\.me\/([A-Za-z0-9_]+)\?start=([A-Za-z0-9_-]+)$/.exec(url);
    return match && match[1] === state.bot ? match[2] : null;
  }

  /* A link to our bot opens Telegram here; other links open beside the page; anything else is only text. */
  function anchor(person, url, text) {
    var payload = startOf(url);
    if (payload) {
      return el("a", { href: url, onclick: function () { start(person, payload); return false; } }, text);
    }
    if (!/^https?:\/\//.test(url)) { return el("span", {}, text); }
    return el("a", { href: url, target: "_blank", rel: "noopener noreferrer" }, text);
  }

  function start(person, payload) { return act("telegram/start", { chat: person.chat, payload: payload }); }

  function keys(person, m) {
    var box = el("div", { "class": "keys" });
    m.keyboard.forEach(function (row) {
      var line = el("div");
      row.forEach(function (button) { line.appendChild(keyButton(person, m, button)); });
      box.appendChild(line);
    });
    return box;
  }

  function keyButton(person, m, button) {
    if (button.url) { return anchor(person, button.url, button.text); }
    return el("button", { type: "button", disabled: !(button.callback_data || button.copy_text), onclick: function () {
      if (button.copy_text) { copy(button.copy_text.text, this); return; }
      act("telegram/press", { chat: person.chat, message: Number(m.id), data: button.callback_data });
    } }, button.text);
  }

  function copy(text, button) {
    var label = button.textContent;
    function done() { button.textContent = "Copied"; setTimeout(function () { button.textContent = label; }, 1500); }
    if (navigator.clipboard) { navigator.clipboard.writeText(text).then(done, function () { say("Copy this: " + text); }); }
    else { say("Copy this: " + text); }
  }

  /* Telegram and mail */

  function drawTelegram(person) {
    var tg = person.telegram, k = person.key, used = tg.messages.length || tg.started || tg.blocked;
    part(person, "telegram").hidden = !used;
    if (!used || !differs(k + "/telegram", tg)) { return; }
    byId(k + "-telegram-state").textContent = tg.blocked ? "Bot blocked" : "";
    var nodes = tg.messages.map(function (m) { return bubble(person, "telegram", m); });
    if (tg.toast) { nodes.push(el("p", { "class": "toast" }, tg.toast.text)); }
    drawThread(person, "telegram", nodes);
    fill(byId(k + "-telegram-replies"), [].concat.apply([], tg.replies).map(function (text) {
      return el("button", { type: "button", onclick: function () { act("telegram/write", { chat: person.chat, text: text }); } }, text);
    }));
  }

  /* Mails are added one by one: redrawing would load every frame again. */
  function drawMails(person, mails) {
    var thread = byId(person.key + "-mail-thread");
    byId(person.key + "-mail-state").textContent = mails.length ? mails.length + (mails.length > 1 ? " mails" : " mail") : "";
    Array.prototype.slice.call(thread.children).forEach(function (node) {
      if (!node.getAttribute("data-mail")) { thread.removeChild(node); }
    });
    mails.forEach(function (mail) {
      if (thread.querySelector('[data-mail="' + mail.id + '"]')) { return; }
      Array.prototype.forEach.call(thread.children, function (node) { node.open = false; });
      thread.insertBefore(letter(person, mail), thread.firstChild);
      thread.scrollTop = 0;
    });
    if (!mails.length) { thread.appendChild(el("p", { "class": "nothing" }, "No mail yet.")); }
  }

  function letter(person, mail) {
    var box = el("details", { "class": "letter fresh", "data-mail": mail.id, open: true },
      el("summary", {}, el("b", {}, mail.subject || "(no subject)"), el("br"), mail.from + ", " + clock(mail.at)),
      mail.html ? el("iframe", { title: mail.subject || "mail", sandbox: "allow-popups allow-popups-to-escape-sandbox",
        referrerpolicy: "no-referrer" }) : el("pre", {}, linked(person, mail.text)));
    box.ontoggle = function () { load(box, mail); };
    load(box, mail);
    box.appendChild(el("div", { "class": "acts" }, mail.attachments.length ? el("span", {}, "Attached: " + mail.attachments.join(", ")) : null,
      mail.unsubscribe ? el("button", { type: "button", "class": "plain", onclick: function () { act("unsubscribe", { mail: mail.id }); } },
        "Unsubscribe (one click)") : null, telegramLink(person, mail)));
    return box;
  }

  /* A closed mail costs nothing. */
  function load(box, mail) {
    var frame = box.querySelector("iframe");
    if (box.open !== false && frame && !frame.getAttribute("src")) { frame.setAttribute("src", "/mail/" + encodeURIComponent(mail.id)); }
  }

  function telegramLink(person, mail) {
    var found = (mail.text.match(/https:\/\/t\.me\/\S+/g) || []).map(startOf).filter(Boolean)[0];
    return found ? el("button", { type: "button", "class": "plain", onclick: function () { start(person, found); } }, "Open in Telegram") : null;
  }

  byId("find").oninput = refresh;
  byId("profile").onchange = useProfile;
  byId("again").onclick = useProfile;
  byId("clear").onclick = function () { act("faults/clear", {}).then(refresh); };
  learn();
  setInterval(function () { if (state) { tick(); } }, 500);
  listen();
}());

/* The form that pays any control number from any wallet. Plain ES5, for old phones. */
(function () {
  "use strict";

  function byId(id) { return document.getElementById(id); }
  function value(id) { return byId(id).value.replace(/^\s+|\s+$/g, ""); }

  function asked() {
    var body = { number: value("pay-number"), wallet: value("pay-wallet") };
    if (value("pay-name")) { body.name = value("pay-name"); }
    if (value("pay-phone")) { body.phone = value("pay-phone"); }
    return body;
  }

  function told(said) {
    if (said.error) { return said.error; }
    var hook = said.webhook_status;
    return "Payment " + said.payment + ": " + said.status + ". " +
      (hook === null ? "No webhook was answered." : hook ? "Webhook answered " + hook + "." : "Nobody answered the webhook.");
  }

  function send(path, body) {
    byId("pay-says").textContent = "…";
    fetch("/api/" + path, {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body)
    }).then(function (answer) { return answer.json(); }).then(function (said) {
      byId("pay-says").textContent = told(said);
    }).catch(function () { byId("pay-says").textContent = "The sandbox does not answer."; });
  }

  byId("pay-now").onclick = function () {
    var body = asked();
    body.amount = value("pay-amount");
    body.lost = byId("pay-lost").checked;
    send("pay", body);
  };
  byId("pay-fail").onclick = function () { send("fail", asked()); };

  fetch("/api/state").then(function (answer) { return answer.json(); }).then(function (state) {
    state.wallets.forEach(function (name) {
      var option = document.createElement("option");
      option.textContent = name;
      byId("pay-wallet").appendChild(option);
    });
  });
}());

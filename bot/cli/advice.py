"""What each part of tuma needs before it works, and where a merchant gets it.

Sources: Twilio, "Tanzania SMS guidelines", "WhatsApp" and "Content API"; Africa's Talking, "SMS notifications";
Telegram, "From BotFather to Hello World"; ClickPesa, "Application API set-up", "Checksum" and "Webhooks".
"""

from __future__ import annotations

from collections.abc import Mapping

from channels.name import ChannelName

_TWILIO = "TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN: console.twilio.com, Account Info (the primary token)"

CHANNEL: Mapping[ChannelName, tuple[str, ...]] = {
    ChannelName.SMS: (
        "SMS goes through Twilio, through Africa's Talking, or through both (SMS_PROVIDERS)",
        _TWILIO,
        "TWILIO_SMS_FROM: a sender name registered for Tanzania (console.twilio.com, Sender IDs; it takes weeks and "
        "needs the business registration), or TWILIO_MESSAGING_SERVICE_SID of a service that has one",
        "AFRICASTALKING_USERNAME and AFRICASTALKING_API_KEY: account.africastalking.com, your application, Settings; "
        "AFRICASTALKING_SENDER is a sender name registered there for Tanzania",
        "AFRICASTALKING_CALLBACK_TOKEN: a secret of yours (`openssl rand -hex 24`); then set "
        "PUBLIC_URL/webhooks/africastalking/<token>/delivery and .../optout in the dashboard, SMS, SMS Callback URLs",
    ),
    ChannelName.WHATSAPP: (
        _TWILIO,
        "TWILIO_WHATSAPP_FROM: a number made a WhatsApp sender (console.twilio.com, Senders, WhatsApp senders)",
        "WHATSAPP_TEMPLATES: a file that names your approved Utility templates (Content Template Builder); without "
        "it only customers who wrote in the last 24 hours can be reached",
    ),
    ChannelName.EMAIL: (
        "SMTP_URL: from your mail provider, such as smtp+starttls://user:password@host:587",
        "EMAIL_FROM: an address of a domain whose SPF, DKIM and DMARC records name that provider",
    ),
    ChannelName.TELEGRAM: ("TELEGRAM_BOT_TOKEN: write /newbot to @BotFather in Telegram",),
}
CLICKPESA = (
    "CLICKPESA_CLIENT_ID and CLICKPESA_API_KEY: ClickPesa's dashboard, Settings, Developers, your application",
)
CHECKSUM = (
    "CLICKPESA_CHECKSUM_KEY: switch checksums on for the application in the dashboard; it shows the key once"
)
WEBHOOK = "{url}/webhooks/clickpesa is the address to set there for PAYMENT RECEIVED and PAYMENT FAILED"
SIGNING = 'TUMA_CALLBACK_SECRET: a secret of yours, as `echo "whsec_$(openssl rand -base64 24)"` makes it'
PUBLIC_URL = "PUBLIC_URL: the https:// address under which providers and customers reach this server"

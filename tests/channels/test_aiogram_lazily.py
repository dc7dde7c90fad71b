"""aiogram's models are built when they are first used, also those inside of others and of an answer."""

from __future__ import annotations

import json
import subprocess
import sys

# In a process of its own: this one has used aiogram already.
_SCRIPT = """
import json
import bot.staff.bot
from aiogram import Bot, types
from aiogram.methods import GetUpdates, SendMessage
from aiogram.client.session.aiohttp import AiohttpSession

models = [m for m in map(types.__dict__.get, types.__all__) if hasattr(m, "model_rebuild")]
built = sum(m.__pydantic_complete__ for m in models)
button = types.InlineKeyboardButton(text="Nakili", copy_text=types.CopyTextButton(text="14000"))
send = SendMessage(chat_id=7, text="x", reply_markup=types.InlineKeyboardMarkup(inline_keyboard=[[button]]))
form = AiohttpSession().build_form_data(Bot("1:a"), send)._fields
chat = {"id": 7, "type": "private"}
pinned = {"message_id": 1, "date": 1700000000, "chat": chat}
message = {"message_id": 2, "date": 1700000000, "chat": chat, "text": "hi", "pinned_message": pinned}
answer = json.dumps({"ok": True, "result": [{"update_id": 1, "message": message}]})
[update] = AiohttpSession().check_response(Bot("1:a"), GetUpdates(), 200, answer).result
print(json.dumps({
    "models": len(models),
    "built": built,
    "form": {options["name"]: value for options, _, value in form},
    "types": [type(x).__name__ for x in (update, update.message, update.message.pinned_message, update.message.chat)],
}))
"""


def test_models_are_built_on_first_use() -> None:
    done = subprocess.run([sys.executable, "-c", _SCRIPT], check=True, capture_output=True, text=True)
    told = json.loads(done.stdout)
    assert told["models"] > 400
    assert told["built"] == 0
    assert told["form"]["text"] == "x"
    assert json.loads(told["form"]["reply_markup"]) == {
        "inline_keyboard": [[{"text": "Nakili", "copy_text": {"text": "14000"}}]]
    }
    assert told["types"] == ["Update", "Message", "Message", "Chat"]

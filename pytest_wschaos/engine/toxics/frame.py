"""frame: does something to chosen WebSocket messages and control frames of its direction.

What is chosen is a message with all its frames, or a control frame. ``action`` says what happens to it:

- ``pass``: nothing.
- ``drop``: it is left out.
- ``delay``: it waits ``delay`` milliseconds, and so does what follows it: TCP keeps the order.
- ``duplicate``: it comes twice.
- ``reorder``: it comes after the next message (a control frame: after the next of either); with ``delay`` above 0
  after so many milliseconds at the latest.
- ``truncate``: of its payload the first ``keep`` bytes pass, with a length that says so.
- ``corrupt``: up to ``bits`` bits of the payload are flipped, in each of its frames.
- ``close``: a Close with ``code`` (one that must not be sent, too) and ``reason`` comes in its place, and nothing
  after it.

It is chosen by ``opcodes`` (names; none: all) and by ``match`` (text that its payload contains); of those that fit,
the first being number 1, from number ``start`` on every ``every``-th, ``count`` in all (0: no limit), each with
``probability``.

Where the whole of it would have to be held (``match``, ``duplicate``, ``reorder``), what is larger than 1 MiB passes.
A compressed message is matched, truncated and corrupted as it is; it is neither dropped, duplicated nor reordered,
because those after it lean on it. With ``compression`` false an ``upstream`` toxic takes the offer to compress out of
the client's request.
"""

from __future__ import annotations

import random

from ..frames import PAYLOAD_LIMIT, FrameHead, Head, Opcode, unmask
from ..stage import OVERHEAD, Attributes, End
from ..websocket_stage import WebSocketStage

ACTIONS = ("pass", "drop", "delay", "duplicate", "reorder", "truncate", "corrupt", "close")
WHOLE = ("duplicate", "reorder")
"""Actions that need all of a message at once, and that a Close is spared: nothing comes after it."""
LEANED_ON = ("drop", "duplicate", "reorder")
"""Actions that would spoil the compressed messages that follow."""
SHORTENING = ("drop", "truncate")
"""Actions of which a message must have seen the end before it can be read on as it is."""
OPCODES = {opcode.name.lower(): opcode for opcode in Opcode if opcode is not Opcode.CONTINUATION}
REASON_LIMIT = 123
"""Bytes that a Close has room for beside its code."""
RANGES = {
    "start": (1, 2**63), "every": (1, 2**63), "count": (0, 2**63), "probability": (0, 1), "delay": (0, 2**63),
    "keep": (0, 2**63), "bits": (1, 1024), "code": (1000, 4999),
}  # fmt: skip


class Unit:
    """A message, or a control frame, on its way through."""

    def __init__(self, head: FrameHead) -> None:
        self.opcode = head.opcode
        self.control = head.control
        self.compressed = head.compressed
        self.action = "pass"
        self.held: list[tuple[FrameHead, bytearray]] | None = None
        """Its frames so far, where the whole of it is needed first."""
        self.size = 0
        """Bytes that are held."""
        self.room = 0
        """Bytes of the payload that may still pass of a truncated one."""
        self.flips: set[int] = set()
        """Bits of the frame at hand that are flipped."""

    @property
    def payload(self) -> bytes:
        """What it says; all of it must be held."""
        return b"".join(unmask(bytes(part), head.mask) if head.mask else part for head, part in self.held or ())

    @property
    def raw(self) -> bytes:
        """It as it came; all of it must be held."""
        return b"".join(head.encode() + part for head, part in self.held or ())


class Frame(WebSocketStage):
    """Acts on chosen messages and control frames; the handshake, and what is no WebSocket, passes as it is."""

    type = "frame"
    defaults = {
        "action": "pass",
        "opcodes": [],
        "match": "",
        "start": 1,
        "every": 1,
        "count": 0,
        "probability": 1.0,
        "delay": 0,
        "keep": 0,
        "bits": 1,
        "code": 1011,
        "reason": "",
        "compression": True,
    }

    def __init__(self, attributes: Attributes, rng: random.Random) -> None:
        super().__init__(attributes, rng)
        self._unit: Unit | None = None  # that of the frame at hand
        self._message: Unit | None = None  # that has begun and not ended
        self._waiting: Unit | None = None  # to come after another
        self._overdue = False  # and for longer than it may
        self._fitted = 0
        self._chosen = 0
        self._removed = False

    @classmethod
    def check(cls, attributes: Attributes) -> None:
        if attributes["action"] not in ACTIONS:
            raise cls.wrong("action", attributes["action"], f"one of {', '.join(ACTIONS)}")
        if not all(name in OPCODES for name in map(str, attributes["opcodes"])):
            raise cls.wrong("opcodes", attributes["opcodes"], f"a list of {', '.join(OPCODES)}")
        for name, (least, most) in RANGES.items():
            if not least <= attributes[name] <= most:
                limits = f"{least} or more" if most == 2**63 else f"{least} to {most}"
                raise cls.wrong(name, attributes[name], limits)
        for name in ("match", "reason"):
            if attributes[name].encode(errors="ignore").decode() != attributes[name]:
                raise cls.wrong(name, attributes[name], "text that UTF-8 can hold")
        if len(attributes["reason"].encode()) > REASON_LIMIT:
            raise cls.wrong("reason", attributes["reason"], f"{REASON_LIMIT} bytes or fewer")

    # --- what comes ---

    def on_head(self, text: str, head: Head) -> str | None:
        if self.upstream and not self.attributes["compression"]:
            lines = text.split("\r\n")
            return "\r\n".join(line for line in lines if not line.lower().startswith("sec-websocket-extensions:"))
        return text

    def on_frame(self, head: FrameHead) -> None:
        if head.opcode is not Opcode.CONTINUATION:
            unit = Unit(head)
            self._begin(unit)
        else:
            unit = self._message or Unit(head)  # the latter: its first frame came before the toxic
        if self.swallowing:
            return
        self._unit = unit
        if not head.control:
            self._message = unit
        if unit.held is None:
            self._write(unit, self._head(unit, head))
            return
        unit.held.append((head, bytearray()))
        unit.size += head.length + OVERHEAD
        if unit.size > PAYLOAD_LIMIT:
            self._let_go(unit)

    def on_payload(self, part: bytes, start: int) -> None:
        unit = self._unit
        assert unit is not None
        if unit.held is not None:
            unit.held[-1][1].extend(part)
        else:
            self._write(unit, self._part(unit, part, start))

    def on_frame_end(self, head: FrameHead) -> None:
        unit, self._unit = self._unit, None
        assert unit is not None
        if not (head.final or head.control):
            return
        if not head.control:
            self._message = None
        if unit.held is not None:
            self._judge(unit)
        turn = not head.control or (self._waiting is not None and self._waiting.control)
        if self._waiting is not unit and (turn or (self._overdue and self._between)):
            self._deliver()
        if self._removed and self._between:
            self._deliver()
            self.pass_all()

    def on_end(self, end: End, at: float) -> None:
        self._release(at)
        super().on_end(end, at)

    def on_deadline(self, at: float) -> None:
        self.now = at
        if self._between:
            self._deliver()
            self.flush()
        else:
            self._overdue = True  # it comes behind what is passing

    def on_remove(self, at: float) -> None:
        """What waits goes on. It stays while a frame that it has begun to change is under way, or none may follow."""
        self._removed = True
        self.deadline = None
        changed = any(unit is not None and unit.action in SHORTENING for unit in (self._unit, self._message))
        blocked = self._waiting is not None and not self._between
        self.sticky = self.swallowing or changed or blocked or self._interrupted
        if not self.sticky:
            self._release(at)
        super().on_remove(at)

    # --- choosing ---

    def _begin(self, unit: Unit) -> None:
        """A message or a control frame begins; of the former, which of its frames are still to come is not known."""
        if unit.opcode is Opcode.CLOSE:
            self._hurry()
        if not self._fits(unit):
            return
        if self.attributes["match"] or self.attributes["action"] in WHOLE:
            unit.held = []
        elif self._choose():
            self._act(unit)

    def _judge(self, unit: Unit) -> None:
        """All of a held one is there."""
        action = self.attributes["action"]
        chosen = self._fits(unit) and self.attributes["match"].encode() in unit.payload and self._choose()
        if not chosen:
            self._let_go(unit)
        elif action == "reorder":
            self._waiting = unit
            self.deadline = self.now + self.attributes["delay"] / 1000 if self.attributes["delay"] else None
            self._tell(unit, action)
        elif action == "duplicate":
            self.write(unit.raw * 2)
            self._tell(unit, action)
        else:
            self._act(unit)
            if not self.swallowing:
                self._let_go(unit)

    def _fits(self, unit: Unit) -> bool:
        """Whether it is of those that are chosen from, but for what its payload says."""
        action, names = self.attributes["action"], self.attributes["opcodes"]
        return (
            not self._removed
            and action != "pass"
            and (not names or unit.opcode.name.lower() in names)
            and not (unit.compressed and action in LEANED_ON)
            and not (unit.opcode is Opcode.CLOSE and action in WHOLE)
            and not (action == "reorder" and self._waiting is not None)  # it is the one to come before that
        )

    def _choose(self) -> bool:
        """Whether the next one that fits is chosen."""
        self._fitted += 1
        beyond = self._fitted - self.attributes["start"]
        if beyond < 0 or beyond % self.attributes["every"] or 0 < self.attributes["count"] <= self._chosen:
            return False
        if self.attributes["probability"] < 1 and self.rng.random() >= self.attributes["probability"]:
            return False
        self._chosen += 1
        return True

    # --- acting ---

    def _act(self, unit: Unit) -> None:
        unit.action, unit.room = self.attributes["action"], int(self.attributes["keep"])
        self._tell(unit, unit.action)
        if unit.action == "close":
            self._hurry()
            self.write(self._close())
            self.swallow_all()

    def _tell(self, unit: Unit, action: str) -> None:
        self.tell(did=action, what=unit.opcode.name.lower())

    def _close(self) -> bytes:
        payload = self.attributes["code"].to_bytes(2, "big") + self.attributes["reason"].encode()
        mask = self.rng.randbytes(4) if self.upstream else b""
        head = FrameHead(0x80 | Opcode.CLOSE, Opcode.CLOSE, len(payload), mask, 0)
        return head.encode() + (unmask(payload, mask) if mask else payload)

    def _write(self, unit: Unit, data: bytes) -> None:
        self.write(data, self.now + self.attributes["delay"] / 1000 if unit.action == "delay" else None)

    def _head(self, unit: Unit, head: FrameHead) -> bytes:
        """A frame's head as it goes on."""
        match unit.action:
            case "drop":
                return b""
            case "truncate":
                return head._replace(length=min(head.length, unit.room)).encode()
            case "corrupt" if head.length:
                unit.flips = {self.rng.randrange(8 * head.length) for _ in range(self.attributes["bits"])}
        return head.encode()

    def _part(self, unit: Unit, part: bytes, start: int) -> bytes:
        """A part of its payload, from byte ``start`` on, as it goes on."""
        match unit.action:
            case "drop":
                return b""
            case "truncate":
                part = part[: unit.room]
                unit.room -= len(part)
            case "corrupt":
                changed = bytearray(part)
                for bit in unit.flips:
                    if 0 <= bit // 8 - start < len(part):
                        changed[bit // 8 - start] ^= 1 << bit % 8
                return bytes(changed)
        return part

    # --- what is held ---

    @property
    def _between(self) -> bool:
        """Whether a whole message may come now."""
        return self._unit is None and self._message is None

    @property
    def _interrupted(self) -> bool:
        """Whether a control frame is passing amid a message that is held."""
        held = self._message is not None and self._message.held is not None
        return held and self._unit not in (None, self._message)

    def _let_go(self, unit: Unit) -> None:
        """What was held of a message goes on as its action has it; what is still to come follows."""
        held, unit.held = unit.held or [], None
        for head, part in held:
            self._write(unit, self._head(unit, head) + self._part(unit, bytes(part), 0))

    def _deliver(self) -> None:
        """What waits for its turn comes now."""
        if self._waiting is not None:
            self.write(self._waiting.raw)
            self._waiting = self.deadline = None
            self._overdue = False

    def _hurry(self) -> None:
        """A Close comes, after which nothing may come: what waits goes before it."""
        if self._message is not None and self._message.held is not None:
            self._let_go(self._message)
        if self._message is None:
            self._deliver()

    def _release(self, at: float) -> None:
        """Nothing more is waited for."""
        self.now = at
        for unit in (self._message, self._unit):
            if unit is not None and unit.held is not None and not self._interrupted:
                self._let_go(unit)
        if self._between:
            self._deliver()

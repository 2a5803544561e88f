"""What the demo says: a progress bar on a terminal, plain lines elsewhere; colour only there."""
import os
import shutil
import sys
import time

BAR = 24
LINE_EVERY_S = 5
CODES = {"green": "32", "red": "31", "yellow": "33", "bold": "1", "dim": "2"}


class Screen:
    def __init__(self, out=sys.stdout):
        self.out = out
        self.live = out.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        self.colours = self.live and "NO_COLOR" not in os.environ
        self.shown = False   # a bar stands on the current line
        self.last_line = 0.0

    def paint(self, colour, text):
        return f"\033[{CODES[colour]}m{text}\033[0m" if self.colours else text

    def clear(self):
        if self.shown:
            self.out.write("\r\033[K")
            self.shown = False

    def say(self, text="", colour=None):
        self.clear()
        self.out.write((self.paint(colour, text) if colour else text) + "\n")
        self.out.flush()

    def bar(self, share, text):
        """On a terminal the last line, redrawn; elsewhere a line now and then."""
        share = max(0.0, min(1.0, share))
        if self.live:
            width = shutil.get_terminal_size().columns
            done = int(share * BAR)
            line = f"{'█' * done}{'░' * (BAR - done)} {share:4.0%}  {text}"
            self.out.write("\r\033[K" + line[:width - 1])
            self.shown = True
        elif time.monotonic() - self.last_line >= LINE_EVERY_S:
            self.last_line = time.monotonic()
            self.out.write(f"{share:4.0%}  {text}\n")
        self.out.flush()

"""One line for each thing that was checked, with what was seen."""


class Report:
    def __init__(self):
        self.passed = 0
        self.failed = 0

    def title(self, text):
        self.say(f"\n-- {text}")

    def check(self, what, good, seen=""):
        """Counts and prints one check. `seen` is what was found, good or not."""
        if good:
            self.passed += 1
        else:
            self.failed += 1
        self.say(f"{'ok  ' if good else 'FAIL'} {what}" + (f"  [{seen}]" if seen != "" else ""))
        return good

    def say(self, text):
        print(text, flush=True)

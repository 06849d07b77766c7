"""A listener in a browser, who takes a test as a person does, and a checker of pages."""

import json
import os
import re
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from playwright import sync_api as playwright

from desmezcla.listening.design import ListeningTest

PHONE, DESKTOP = {"width": 390, "height": 844}, {"width": 1280, "height": 900}
# What a listener is said to hear of each condition.
MEANS = {"clean": 4.2, "leaky": 2.6, "reference": 4.9}


def axe_script() -> str | None:
    spec = find_spec("axe_playwright_python")
    if spec is None or not spec.submodule_search_locations:
        return None
    path = Path(next(iter(spec.submodule_search_locations))) / "axe.min.js"
    return path.read_text(encoding="utf-8") if path.exists() else None


AXE = axe_script()


def look(page: Any, name: str) -> list[str]:
    """Take pictures at both widths, and return what the checker finds serious."""
    pictures = os.environ.get("DESMEZCLA_SCREENSHOTS")
    found = []
    for width, size in (("phone", PHONE), ("desktop", DESKTOP)):
        page.set_viewport_size(size)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (name, width)
        if pictures:
            page.screenshot(path=f"{pictures}/{name}-{width}.png", full_page=True)
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            if AXE is not None:
                page.evaluate(AXE)
                result = page.evaluate("axe.run()")
                found += [
                    f"{name}, {width}, {scheme}: {one['id']}: {one['nodes'][0]['html']}"
                    for one in result["violations"]
                    if one["impact"] in ("serious", "critical")
                ]
    page.emulate_media(color_scheme="light")
    page.set_viewport_size(PHONE)
    return found


@dataclass
class Listener:
    """Takes the test as a person does, with buttons and keys, and notes what was given."""

    page: Any
    design: ListeningTest
    seed: int
    given: dict[tuple[str, str], str] = field(default_factory=dict)
    heard: dict[str, tuple[str, ...]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    looking: bool = False

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)
        self.names = {
            stimulus.file: (excerpt.song, excerpt.stem, stimulus.condition)
            for excerpt in self.design.excerpts
            for stimulus in excerpt.stimuli
        }

    @property
    def step(self) -> str:
        if not self.page.locator("#page").count():
            return "done"
        return str(json.loads(self.page.locator("#page").text_content())["item"])

    def take(self, until: str = "done") -> None:
        """Go on until a page is reached."""
        for _ in range(60):
            step = self.step
            if self.looking and step not in ("t2", "t3", "t4", "t5", "t6", "t7", "m2"):
                self.faults += look(self.page, step)
            if step in (until, "done"):
                return
            self.answer(step)
            self.next()
        raise AssertionError("the test does not end")

    def answer(self, step: str) -> None:
        if re.fullmatch(r"t\d+", step):
            self.play()
            self.rate(step)
        elif re.fullmatch(r"m\d+", step):
            self.compare(step)
        elif step == "calibration":
            for place in range(self.page.locator(".play").count()):
                self.play(place)
        else:
            for group in self.page.locator("fieldset[data-scale]").all():
                radios = group.locator("input")
                radios.nth(int(self.rng.integers(radios.count()))).check()

    def play(self, place: int = 0) -> None:
        button = self.page.locator(".play").nth(place)
        playwright.expect(button).to_be_enabled()
        button.focus()
        self.page.keyboard.press("Space")
        playwright.expect(button).to_have_attribute("data-playing", "true")
        playwright.expect(button).to_have_attribute("data-playing", "false")  # it has ended

    def rate(self, step: str, scales: tuple[str, ...] = ("quality", "contamination")) -> None:
        file = self.page.locator("[data-player]").get_attribute("data-player").rpartition("/")[2]
        self.heard[step] = self.names[file]
        for scale in scales:
            mean = MEANS[self.names[file][2]]
            value = str(int(np.clip(round(mean + self.rng.normal(0, 0.4)), 1, 5)))
            radio = self.page.locator(f'fieldset[data-scale="{scale}"] input[value="{value}"]')
            playwright.expect(radio).to_be_enabled()
            radio.focus()
            self.page.keyboard.press("Space")
            self.given[step, scale] = value

    def compare(self, step: str) -> None:
        self.page.locator("#play").click()
        for version in self.page.locator(".version").all():
            version.locator(".hear").click()
            slider = version.locator("input")
            playwright.expect(slider).to_be_enabled()
            file = version.get_attribute("data-scale")
            value = str(
                int(np.clip(20 * MEANS[self.names[file][2]] + self.rng.integers(5), 0, 100))
            )
            slider.fill(value)
            self.given[step, file] = value

    def next(self) -> None:
        with self.page.expect_navigation():
            self.page.locator("#next").click()

    def state(self, wanted: str) -> None:
        playwright.expect(self.page.locator("#saving")).to_have_attribute("data-state", wanted)


def mean_noted(listener: Listener, scale: str, condition: str) -> float:
    """Return the mean of what a listener noted of a condition, without the repeat."""
    values: list[int] = []
    seen = set()
    for (item, own), value in listener.given.items():
        if scale == "mushra" and own in listener.names:
            values += [int(value)] if listener.names[own][2] == condition else []
        elif own == scale and listener.heard[item][2] == condition:
            values += [int(value)] if listener.heard[item] not in seen else []
            seen.add(listener.heard[item])
    assert len(values) == 2  # two stems
    return float(np.mean(values))

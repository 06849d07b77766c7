"""Every style that a song may have, by its name."""

from desmezcla.datasets.render.composer.played import PLAYED
from desmezcla.datasets.render.composer.programmed import PROGRAMMED

STYLES = {style.name: style for style in (*PLAYED, *PROGRAMMED)}

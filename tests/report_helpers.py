"""Predictions to make reports of, and a report taken apart again."""

import io
import json
from html.parser import HTMLParser
from pathlib import Path

import mlx.core as mx
import numpy as np
from PIL import Image
from synthetic import toy_model

from betafold_mlx import Predictor
from betafold_mlx.model.config import ModelConfig
from betafold_mlx.model.directory import LoadedModel

WITHOUT_END = ("meta", "input", "img", "br")


def eight_headed():
    """Return a predictor with as many attention maps as the bundled model."""
    mx.random.seed(0)
    model = toy_model(ModelConfig(width=32, layers=4, heads=8, ffn_width=64))
    return Predictor(LoadedModel(model, "toy", "0123456789abcdef" * 4, Path("toy")))


class Element:
    """An element: its name, attributes, and what is in it, elements and text."""

    def __init__(self, name, attributes):
        self.name, self.attributes, self.children = name, dict(attributes), []

    def all(self, name=None, /, **attributes):
        """Return the elements below with this name and these attributes (True: any value), in their order."""
        found = []
        for child in self.children:
            if isinstance(child, Element):
                wanted = {key.rstrip("_").replace("_", "-"): value for key, value in attributes.items()}
                same = all(
                    key in child.attributes and (value is True or child.attributes[key] == value)
                    for key, value in wanted.items()
                )
                if same and name in (None, child.name):
                    found.append(child)
                found += child.all(name, **attributes)
        return found

    def one(self, name=None, /, **attributes):
        (found,) = self.all(name, **attributes)
        return found

    @property
    def text(self):
        return "".join(child if isinstance(child, str) else child.text for child in self.children)


class _Parser(HTMLParser):
    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.open = [Element("document", [])]

    def handle_starttag(self, name, attributes):
        names = [key for key, _ in attributes]
        assert len(names) == len(set(names)), (name, names)
        element = Element(name, attributes)
        self.open[-1].children.append(element)
        if name not in WITHOUT_END:
            self.open.append(element)

    def handle_endtag(self, name):
        assert self.open.pop().name == name

    def handle_data(self, data):
        self.open[-1].children.append(data)

    def handle_comment(self, data):
        raise AssertionError(f"a comment: {data}")


def parsed(document):
    """Return the document as a tree; every element must be closed where it should be."""
    parser = _Parser()
    parser.feed(document)
    parser.close()
    assert len(parser.open) == 1
    return parser.open[0]


def read_png(data):
    """Return the pixels (rows, columns, 4) of a picture: red, green, blue, alpha."""
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGBA")).astype(int)


def data_of(tree):
    """Return what the script of a report reads."""
    return json.loads(tree.one("script", id="data").text)

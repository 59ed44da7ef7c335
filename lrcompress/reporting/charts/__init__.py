"""The figures of a story, each with its words, and how they are drawn."""

from lrcompress.reporting.charts.stories import Chart, charts_of, finetuning_of

__all__ = ["Chart", "charts_of", "finetuning_of"]

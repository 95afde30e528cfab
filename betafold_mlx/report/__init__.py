"""The report of a prediction: one HTML file that opens anywhere, offline."""

from betafold_mlx.report.html import report_html
from betafold_mlx.report.viewer import Viewer, find_viewer

__all__ = ["Viewer", "find_viewer", "report_html"]

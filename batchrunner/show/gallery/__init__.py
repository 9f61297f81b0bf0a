"""The gallery: one offline page beside the videos, that looks for its own news while a batch runs."""

from batchrunner.show.gallery.data import PageStatus, gallery_data
from batchrunner.show.gallery.page import posters, stands, write_data, write_page, write_poster, write_report
from batchrunner.show.gallery.serve import serving

__all__ = [
    "PageStatus",
    "gallery_data",
    "posters",
    "serving",
    "stands",
    "write_data",
    "write_page",
    "write_poster",
    "write_report",
]

"""The gallery: one offline page beside the videos, which reads its data again while a batch runs."""

from batchrunner.show.gallery.data import PageStatus, gallery_data
from batchrunner.show.gallery.page import Gallery, write_data, write_page, write_posters
from batchrunner.show.gallery.serve import PICKS, serving

__all__ = ["PICKS", "Gallery", "PageStatus", "gallery_data", "serving", "write_data", "write_page", "write_posters"]

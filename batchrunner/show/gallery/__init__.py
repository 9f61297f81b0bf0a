"""The gallery: one offline page beside the videos, which reads its data again while a batch runs."""

from batchrunner.show.gallery.data import PageStatus, gallery_data
from batchrunner.show.gallery.page import Gallery, posters, write_data, write_page, write_poster
from batchrunner.show.gallery.serve import serving

__all__ = ["Gallery", "PageStatus", "gallery_data", "posters", "serving", "write_data", "write_page", "write_poster"]

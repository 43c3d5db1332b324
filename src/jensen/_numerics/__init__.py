"""Small numerical helpers that several layers share."""

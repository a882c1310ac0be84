"""Publishing: from a run to a release (torch is needed to export the towers of a trained run)."""

"""Everything that measures, decides and shows. The core and the audit never import it."""

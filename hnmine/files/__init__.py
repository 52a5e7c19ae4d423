"""Files: plan and manifest, readers of every input format, Parquet tables, atomic writes."""

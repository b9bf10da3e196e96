"""Everything that knows Spark: sources, the two stages, tables, runs, SQL. The only place that imports pyspark."""

"""Print the columns of Parquet files as JSON; runs where PyArrow is installed.

The arguments are the files. For each is printed: name, type, and whether it may be null.
"""

import json
import sys

import pyarrow.parquet

if __name__ == "__main__":
    print(
        json.dumps(
            {
                path: [
                    [field.name, str(field.type), field.nullable]
                    for field in pyarrow.parquet.ParquetFile(path).schema_arrow
                ]
                for path in sys.argv[1:]
            }
        )
    )

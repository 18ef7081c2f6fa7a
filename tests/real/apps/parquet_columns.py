"""Print the columns of Parquet files as JSON, read by PyArrow; runs in an application's environment.

The arguments are the files. Printed is for each file a list of name, type and whether it may be null.
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

"""What people write: StreamRequest and Dataset (``lclstream.io/v1alpha1``) as pydantic models.

The CustomResourceDefinitions in ``crds/`` are generated from these models by `lclstream.crd`.
Nothing here does any input or output.
"""

from lclstream.spec.base import (
    API_GROUP,
    API_VERSION,
    Model,
    OneOf,
    Plugin,
    Quantity,
    SpecError,
    parse,
    parse_quantity,
    quantity_bytes,
)
from lclstream.spec.dataset import Dataset, DatasetSpec, DatasetStatus, Run, Volume
from lclstream.spec.source import (
    ConstantField,
    DatasetRef,
    EventRange,
    Fields,
    FieldSource,
    Hdf5Source,
    OnMissing,
    RandomField,
    Source,
    SyntheticSource,
    jsonable,
)
from lclstream.spec.steps import Batch, Bin, Cast, Crop, Filter, Mask, Pad, Step, Threshold
from lclstream.spec.stream import (
    BufferStatus,
    Compression,
    Connection,
    Delivery,
    Encoding,
    Metadata,
    Phase,
    Progress,
    StreamRequest,
    StreamSpec,
    StreamStatus,
    Workers,
)

__all__ = [
    "API_GROUP", "API_VERSION", "Batch", "Bin", "BufferStatus", "Cast", "Compression", "Connection",
    "ConstantField", "Crop",
    "Dataset", "DatasetRef", "DatasetSpec", "DatasetStatus", "Delivery", "Encoding", "EventRange",
    "FieldSource", "Fields", "Filter", "Hdf5Source", "Mask", "Metadata", "Model", "OnMissing", "OneOf", "Pad",
    "Phase", "Plugin", "Progress", "Quantity", "RandomField", "Run", "Source", "SpecError", "Step",
    "StreamRequest", "StreamSpec", "StreamStatus", "SyntheticSource", "Threshold", "Volume",
    "Workers", "jsonable", "parse", "parse_quantity", "quantity_bytes",
]  # fmt: skip

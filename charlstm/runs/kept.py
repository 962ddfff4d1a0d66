"""Small facts that lie beside a run: its place in the queue, its parent, for how much longer it goes on."""

import time

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from charlstm.config import Schedule


class Extension(BaseModel):
    """For how much longer a run goes on than it was planned to, from where it stands; 0 sets no limit."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)
    minutes: float = Field(0.0, ge=0, le=10**5)
    passes: float = Field(0.0, ge=0, le=10**6)
    steps: int = Field(0, ge=0, le=10**9)
    learning_rate: float | None = Field(None, gt=0, le=1)  # at the peak of the added part
    lr_schedule: Schedule | None = None


class QueueTicket(BaseModel):
    """A place in the queue."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)
    drawn: int = Field(default_factory=time.time_ns, ge=0, lt=2**63)  # the smallest is next
    started_at: float | None = Field(None, ge=0, le=10**11)  # seconds since 1970, when its worker was started


class ParentModel(BaseModel):
    """The model that a run begins from."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    name: str = Field(max_length=255)  # of a folder or a file
    sha256: str = Field(max_length=64)  # of its file


PARTS: TypeAdapter[tuple[Extension, ...]] = TypeAdapter(tuple[Extension, ...])

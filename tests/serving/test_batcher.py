import threading

import pyarrow as pa
import pytest

from lib.errors import UserError
from lib.serving.batcher import MAX_BATCH, Batcher, QueueFull


class Sizes:
    """Answers with the size of each picture, once it may start; refuses empty ones."""

    def __init__(self):
        self.start, self.batches = threading.Event(), []

    def predict_each(self, pictures):
        self.start.wait()
        self.batches.append(list(pictures))
        if not all(pictures.values()):
            raise UserError("an empty picture")
        if any(data == b"fault" for data in pictures.values()):
            raise RuntimeError("a fault")
        return pa.table({"product": list(pictures), "size": [len(d) for d in pictures.values()]})


@pytest.fixture
def sizes():
    return Sizes()


def test_pictures_that_wait_are_answered_together_in_their_order(sizes):
    batcher = Batcher(sizes, 100)
    first = batcher.submit([(b"a", ".png")])
    futures = [batcher.submit([(b"x" * (i + 1), ".jpg")])[0] for i in range(50)]
    sizes.start.set()
    assert [future.result()["size"] for future in futures] == list(range(1, 51))
    assert first[0].result() == {"product": "0000.png", "size": 1}
    batcher.close()
    assert max(map(len, sizes.batches)) == MAX_BATCH
    assert batcher.num_batches == len(sizes.batches) < 10
    assert (batcher.num_pictures, batcher.num_waiting) == (51, 0)


def test_a_picture_that_fails_costs_no_other_its_answer(sizes, caplog):
    batcher = Batcher(sizes, 100)
    pictures = [(data, ".jpg") for data in (b"", b"good", b"fault", b"fine")]
    empty, good, fault, fine = batcher.submit(pictures)
    sizes.start.set()
    assert (good.result()["size"], fine.result()["size"]) == (4, 4)
    with pytest.raises(UserError):
        empty.result()
    with pytest.raises(RuntimeError):
        fault.result()
    batcher.close()
    assert [record.message for record in caplog.records] == ["a picture was not answered"]


def test_a_full_queue_refuses_all_pictures_of_a_request(sizes):
    batcher = Batcher(sizes, 3)
    kept = batcher.submit([(b"a", ".jpg")] * 3)
    with pytest.raises(QueueFull):
        batcher.submit([(b"b", ".jpg")] * 4)
    sizes.start.set()
    batcher.close()  # what waits is answered
    assert all(future.done() for future in kept)
    assert batcher.num_pictures == 3

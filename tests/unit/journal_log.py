"""A journal's topic in memory, for tests that crash between any two of its records."""

import asyncio
from types import SimpleNamespace


class Log:
    """A compacted topic in memory: every record in order, to be read up to any of them."""

    def __init__(self):
        self.records = []

    async def send(self, topic, value, key, partition):
        self.records.append(SimpleNamespace(partition=partition, key=key, value=value))
        return asyncio.sleep(0)

    def reader(self, end=None, keep=lambda record: True):
        async def read(settings, topic, partitions=None):
            for record in filter(keep, self.records[:end]):
                if partitions is None or record.partition in partitions:
                    yield record

        return read

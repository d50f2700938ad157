"""What processes on one root share while they download."""

import os
from pathlib import Path

import msgspec

from rbee_tui.engine import durable
from rbee_tui.engine.paths import Root
from rbee_tui.engine.process import identify
from rbee_tui.engine.records import JobStore
from rbee_tui.engine.sharing import Sharing
from rbee_tui.engine.transfer import Traffic
from rbee_tui.engine.transfer.traffic import Load
from tests.engine.support_jobs import a_record, a_run


class _File:
    party, hired, staying = "00000001", 1, 1


class TestConnections:
    """The budget of an origin among processes."""

    def test_a_process_has_what_its_jobs_are_due(self, tmp_path: Path) -> None:
        """However many another has taken for two jobs: a third of what is tried; its idle ones aside."""
        root = Root(tmp_path)
        root.prepare()
        store, traffic, file = JobStore(root), Traffic(), _File()
        budget = traffic.budget(a_record().endpoint)
        budget.join(file)
        budget.report(file, Load(1, 0, hungry=True), 0.0)
        other = identify(os.getpid())
        for number, connections in (("00000002", 7), ("00000003", 9), ("00000004", 0)):
            durable.write(root.jobs / f"{number}.json", msgspec.json.encode(a_record(number)))
            store.write_run(number, a_run(who=other, connections=connections))
        Sharing(store, traffic, a_run().who).admitted(file.party, fresh=True)
        assert (budget.elsewhere.connections, budget.elsewhere.jobs) == (16, 2)
        budget.report(file, Load(1, 40 << 20, hungry=True), 1.0)
        assert budget.wanted == 16 // 3

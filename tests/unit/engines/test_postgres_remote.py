"""A base over the wire that does not come to its end, or of a cluster that is damaged."""

import io
import tarfile
from typing import Any, cast

import pytest
from psycopg import pq

from drctl.clock import SystemClock
from drctl.engines.base import Surroundings
from drctl.engines.postgres_client import Client, Cluster, Settings
from drctl.engines.postgres_feed import Feed
from drctl.engines.postgres_remote import RemoteCapture, _bad_page
from drctl.errors import SourceError
from drctl.events import Event, Notice, Silent


class Said:
    def __init__(self) -> None:
        self.notices: list[str] = []

    def emit(self, event: Event) -> None:
        if isinstance(event, Notice):
            self.notices.append(event.text)


def test_an_archive_that_breaks_off_in_what_is_passed_over_is_an_error() -> None:
    sent = io.BytesIO()
    with tarfile.open(fileobj=sent, mode="w") as archive:
        member = tarfile.TarInfo("base/1/1")
        member.size = 5_000_000
        archive.addfile(member, io.BytesIO(bytes(member.size)))
    around = Surroundings(SystemClock(), Silent(), "/", "/")
    client = Client(Settings(), "orders", around)
    cluster = Cluster(150000, "1", 1, 1 << 20, 8192, checksums=True, in_recovery=False)
    about = "orders", cluster, dict[str, str](), around
    wire = pq.PGconn.connect_start(b"host=/nowhere")
    capture = RemoteCapture(wire, cast(Any, None), client, *about)
    feed = Feed(iter([b"d" + sent.getvalue()[:2_000_000]]))
    with pytest.raises(SourceError, match="the server broke off"):
        list(capture._archive(feed, b"", b""))


def test_a_standby_to_which_nothing_new_came_is_told_for_it_may_follow_one_that_is_cut_off() -> (
    None
):
    said = Said()
    around = Surroundings(SystemClock(), said, "/", "/")
    cluster = Cluster(150000, "1", 1, 1 << 20, 8192, checksums=True, in_recovery=False)
    about = "orders", cluster, dict[str, str](), around
    capture = RemoteCapture(cast(Any, None), cast(Any, None), cast(Any, None), *about)
    capture._before_ns = 1_700_000_000 * 10**9
    capture._tell_silence(capture._before_ns - 9 * 60 * 10**9)
    assert not said.notices
    capture._tell_silence(capture._before_ns - 11 * 60 * 10**9)
    (notice,) = said.notices
    assert "nothing new came to the standby since 2023-11-14" in notice


# What the server says of a page that is wrong, of one that is cut, and of a file in the end.
WORDS = [
    (
        'checksum verification failed in file "{}", block {}: calculated {} but expected {}',
        'could not verify checksum in file "{}", block {}: buffer size {} and page size {} differ',
        'file "{}" has a total of {} checksum verification failures',
    ),
    (
        "Prüfsummenüberprüfung fehlgeschlagen in Datei »{}«, Block {}: berechnet {}, erwartet {}",
        "konnte Prüfsumme in Datei »{}«, Block {} nicht überprüfen: Puffer {} und Seite {}",
        "Datei »{}« hat insgesamt {} Prüfsummenfehler",
    ),
    (
        "échec de la vérification dans le fichier « {} », bloc {} : calculé {}, mais attendu {}",
        "n'a pas pu vérifier le fichier « {} », bloc {} : la taille {} et la taille {} diffèrent",
        "le fichier « {} » a un total de {} échecs de vérification de somme de contrôle",
    ),
    (
        'ファイル"{}"のブロック{}で失敗しました: チェックサムは{}ですが想定は{}です',
        'ファイル"{}"、ブロック{}で失敗しました: サイズ{}とページサイズ{}が異なっています',
        'ファイル"{}"では合計{}個のチェックサムエラーが発生しました',
    ),
    (
        '"{}" 파일  체크섬 검사 실패(해당 블럭 {}): 계산된 체크섬 {} (기대값 {})',
        '"{}" 파일({} 블록)에서 체크섬 검사 실패: 읽기 버퍼({})와 페이지 크기({})가 서로 다름',
        '"{}" 파일에서 전체 {} 건 체크섬 검사 실패',
    ),
]


@pytest.mark.parametrize(("wrong", "cut", "more"), WORDS)
def test_a_page_that_the_server_finds_damaged_is_known_in_its_language(wrong, cut, more) -> None:
    path = "./base/16384/2619_fsm.1"
    assert _bad_page(wrong.format(path, 37, "AB12", "F"), 8192) == (path, 37)
    assert _bad_page(wrong.format(path, 0, "1234", "9"), 8192) == (path, 0)
    assert _bad_page(cut.format(path, 37, 4096, 8192), 8192) is None
    assert _bad_page(more.format(path, 7), 8192) is None

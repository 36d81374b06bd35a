"""What to do when something is lost: a site, the host, a key, or what a repository held."""

import shlex
from typing import Any

from drctl.cli.recovering import recover_line
from drctl.plan import LoadedPlan
from drctl.plan.secrets import path_of
from drctl.wiring import Wiring

Document = dict[str, Any]


def losses(wiring: Wiring) -> list[Document]:
    """Each loss with what follows from it, and the commands in order."""
    sites = [_site(wiring, site) for site in wiring.loaded.plan.sites]
    loaded = wiring.loaded
    credential = shlex.quote(path_of(loaded.plan.keys.credential, loaded.base) or "writer.key")
    return [*sites, _host(loaded, credential), *_keys(loaded, credential), *_damage(wiring)]


def _loss(lost: str, says: list[str], commands: list[str]) -> Document:
    return {"lost": lost, "says": says, "commands": commands}


def _site(wiring: Wiring, site: str) -> Document:
    plan = wiring.loaded.plan
    domain = plan.sites[site].failure_domain
    fallen = [n for n, part in plan.repositories.items() if _domain(wiring, part.site) == domain]
    left = [n for n in (wiring.primary(), *wiring.others()) if n not in fallen]
    title = f"Site {site} ({domain})"
    if not fallen:
        return _loss(title, ["No repository stands there."], [])
    gone = f"Gone with it: {', '.join(fallen)}."
    if not left:
        return _loss(
            title, [gone, "NO COPY IS ELSEWHERE: with this site every backup is lost."], []
        )
    if wiring.primary() not in fallen:
        says = "Backups go on. Give the copy another place in the plan, and fill it again:"
        fill = [f"drctl replicate --from {left[0]} --to {name}" for name in fallen]
        return _loss(title, [gone, says], fill)
    told = [
        gone,
        f"Recover from {left[0]}. If this host went too, begin with 'This host', below.",
        f"Then make {' and '.join(fallen)} again from {left[0]}; the plan may name another place.",
        "With their history there, backups and copies go on:",
    ]
    again = [f"drctl replicate --from {left[0]} --to {name}" for name in fallen]
    lines = [recover_line(wiring.loaded, "--from", left[0]), *again, "drctl verify", "drctl backup"]
    return _loss(title, told, lines)


def _domain(wiring: Wiring, site: str) -> str:
    return wiring.loaded.plan.sites[site].failure_domain


def _host(loaded: LoadedPlan, credential: str) -> Document:
    return _loss(
        "This host",
        [
            "On another one install drctl, and bring the recovery kit.",
            "KIT is the directory of its kit.json; the words of its shares are asked for.",
            "Without a kit put plan and identity where they were, and leave --kit out.",
            "Then make the writer credential again, so that backups go on:",
        ],
        [
            recover_line(loaded, "--kit", "KIT"),
            f"drctl key credential {credential} --kit KIT",
        ],
    )


def _keys(loaded: LoadedPlan, credential: str) -> list[Document]:
    return [
        _loss(
            "The identity, or its passphrase",
            [
                "Restore with the recovery kit, or with another identity (--identity FILE).",
                "'drctl key list' names them all; each opens everything.",
                "Then make a new one, and let it read: whoever holds another identity adds it.",
            ],
            [
                recover_line(loaded, "--kit", "KIT"),
                "drctl key new NEW --name NAME",
                "drctl key public NEW > NEW.pub",
                "drctl key recipient add NEW.pub --identity OTHER",
            ],
        ),
        _loss(
            "The identity is stolen, with its passphrase",
            ["Take its right to read away, and see to who can reach the repositories:"],
            ["drctl key recipient rotate NAME --to NEW"],
        ),
        _loss(
            "The writer credential",
            ["It reads nothing. Make another from the repository:"],
            [f"drctl key credential {credential}"],
        ),
    ]


def _damaged(names: tuple[str, ...]) -> Document:
    """Only where all lies in one repository there is none to mend it from."""
    says = ["See what is wrong:"]
    lines = [f"drctl verify --from {name} --read-data 100" for name in names]
    if len(names) > 1:
        says.append("Until it is mended restore from another one; the first that is whole will do.")
        says.append("--repair takes from another one what is damaged or missing, and looks again.")
    else:
        says.append("--repair saves what is sound, and the next backup stores the rest anew.")
    repairs = [f"drctl verify --from {name} --repair --read-data 100" for name in names]
    return _loss("A repository is damaged", says, [*lines, *repairs])


def _damage(wiring: Wiring) -> list[Document]:
    names = (wiring.primary(), *wiring.others())
    buckets = [n for n in names if wiring.loaded.plan.repositories[n].s3]
    found = [
        _damaged(names),
        _loss(
            "A snapshot was removed",
            ["Within the grace period it comes back:"],
            ["drctl snapshots --deleted", "drctl undelete SNAPSHOT"],
        ),
    ]
    if buckets:
        says = "If the bucket keeps versions, read it as it was before:"
        lines = [f"drctl snapshots --from {name} --as-of TIME" for name in buckets]
        lines += [f"drctl restore ASSET --from {buckets[0]} --as-of TIME --to DIRECTORY"]
        found.append(_loss("A bucket was overwritten or deleted", [says], lines))
    return found

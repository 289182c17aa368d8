"""Do accounts become what a users file says, once, and by an admin alone?"""

import os
from pathlib import Path

import pytest
from shipped import ShippedServer

from drsearch.tracking.accounts import Users, UsersError, read_users


def written(folder: Path, text: str) -> Path:
    path = folder / "users.csv"
    path.write_text(text)
    return path


@pytest.fixture
def accounts(shipped: ShippedServer, monkeypatch: pytest.MonkeyPatch) -> Users:
    """The server's accounts, as its admin sees them."""
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "admin")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", shipped.passwords["admin"])
    return Users(shipped.url)


def told(accounts: Users, path: Path) -> dict[str, str]:
    return {change.name: f"{change.role} {change.what}".strip() for change in accounts.apply(read_users(path))}


def test_the_same_file_again_changes_nothing(shipped: ShippedServer, accounts: Users) -> None:
    changes = list(accounts.apply(read_users(shipped.folder / "users.csv")))
    assert {change.what for change in changes[:4]} == {"is so already"}
    assert not any(change.password for change in changes)
    for user in ("rita", "alice", "regina"):
        assert shipped.ask("GET", "/api/2.0/mlflow/users/current", user).json()["user"]["username"] == user


def test_a_user_comes_changes_role_and_goes(shipped: ShippedServer, accounts: Users, tmp_path: Path) -> None:
    (made, *others) = accounts.apply(read_users(written(tmp_path, "user,role\ncarol,reader\n")))
    assert (made.role, made.what, len(made.password)) == ("reader", "is made", 20)
    assert {"alice", "bob", "regina", "rita"} <= {change.name for change in others}
    assert all("is left" in change.what for change in others)
    shipped.passwords["carol"] = made.password
    experiment = {"name": "carol's"}
    assert shipped.ask("POST", "/api/2.0/mlflow/experiments/create", "carol", json=experiment).status_code == 403

    assert told(accounts, written(tmp_path, "user,role\ncarol,researcher\n"))["carol"] == "researcher was reader"
    assert shipped.ask("POST", "/api/2.0/mlflow/experiments/create", "carol", json=experiment).status_code == 200

    assert told(accounts, written(tmp_path, "user,role\ncarol,reader\n"))["carol"] == "reader was researcher"
    another = {"name": "another of carol's"}
    assert shipped.ask("POST", "/api/2.0/mlflow/experiments/create", "carol", json=another).status_code == 403

    assert told(accounts, written(tmp_path, "user,role\ncarol,gone\n"))["carol"] == "is removed"
    assert shipped.ask("GET", "/api/2.0/mlflow/users/current", "carol").status_code == 401
    assert told(accounts, written(tmp_path, "user,role\ncarol,gone\n"))["carol"] == "is gone already"


def test_a_password_comes_from_the_variable_that_the_file_names(
    shipped: ShippedServer, accounts: Users, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, "user,role,password\nstudy,researcher,STUDY_PASSWORD\n")
    for password in ("the-first-of-study-s", "the-second-of-study-s"):
        monkeypatch.setenv("STUDY_PASSWORD", password)
        assert not any(change.password for change in accounts.apply(read_users(path)))
        assert shipped.ask("GET", "/api/2.0/mlflow/users/current", None, auth=("study", password)).status_code == 200
    first = ("study", "the-first-of-study-s")
    assert shipped.ask("GET", "/api/2.0/mlflow/users/current", None, auth=first).status_code == 401


def test_a_role_that_somebody_changed_is_put_right(shipped: ShippedServer, accounts: Users, tmp_path: Path) -> None:
    roles = shipped.ask("GET", "/api/3.0/mlflow/roles/list", "admin").json()["roles"]
    researcher = next(role["id"] for role in roles if role["name"] == "researcher")
    grant = {"role_id": researcher, "resource_type": "experiment", "resource_pattern": "*", "permission": "MANAGE"}
    assert shipped.ask("POST", "/api/3.0/mlflow/roles/permissions/add", "admin", json=grant).status_code == 200
    told(accounts, shipped.folder / "users.csv")
    grants = shipped.ask("GET", f"/api/3.0/mlflow/roles/permissions/list?role_id={researcher}", "admin").json()
    found = {(row["resource_type"], row["permission"]) for row in grants["role_permissions"]}
    assert found == {("workspace", "USE"), ("registered_model", "EDIT"), ("experiment", "EDIT")}
    assert not any(
        row["resource_type"] == "experiment" and row["resource_pattern"] == "*" for row in grants["role_permissions"]
    )


def test_people_change_their_own_password_and_nobody_elses(
    shipped: ShippedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "rita")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", shipped.passwords["rita"])
    said = {"username": "alice", "password": "what-rita-would-like", "current_password": shipped.passwords["rita"]}
    assert shipped.ask("PATCH", "/api/2.0/mlflow/users/update-password", "rita", json=said).status_code == 403
    with pytest.raises(UsersError, match="the password has 5 characters; take 12 or more"):
        Users(shipped.url).change_password("short")
    Users(shipped.url).change_password("what-rita-remembers")
    shipped.passwords["rita"] = "what-rita-remembers"
    assert shipped.ask("GET", "/api/2.0/mlflow/users/current", "rita").status_code == 200


def test_the_command_is_refused_in_one_sentence(shipped: ShippedServer) -> None:
    file = str(shipped.folder / "users.csv")
    done = shipped.drsearch("users", file, user="alice")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"drsearch: {shipped.url} allows this to an admin only; set MLFLOW_TRACKING_USERNAME and "
        "MLFLOW_TRACKING_PASSWORD to one.\n"
    )


def test_a_wrong_password_and_a_store_without_users_are_named(
    shipped: ShippedServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "admin")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "a-guess")
    with pytest.raises(UsersError, match="knows no such user and password"):
        list(Users(shipped.url).apply(()))
    with pytest.raises(UsersError, match="is no server, and has no users"):
        Users(f"sqlite:///{tmp_path}/mlflow.db")
    with pytest.raises(UsersError, match="does not answer|does not take it"):
        os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"
        try:
            list(Users("http://127.0.0.1:9").apply(()))
        finally:
            del os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "{path}: names no user; write a first line `user,role`, and one line for each of them."),
        ("name,role\nx,reader\n", "{path}: has the columns name, role; write user, role, password."),
        (
            "user,role\nx,head\n",
            "{path}, line 2: x has the role 'head'; write one of reader, researcher, registrar, gone.",
        ),
        ("user,role\n,reader\n", "{path}, line 2: has no user; write a name, or remove the line."),
        ("user,role\nadmin,reader\n", "{path}, line 2: the server itself creates admin; remove the line."),
        ("user,role\nx,reader\nx,gone\n", "{path}: names x twice; leave one of the lines."),
        (
            "user,role,password\nx,reader,NO_SUCH_VARIABLE\n",
            "{path}, line 2: the environment variable NO_SUCH_VARIABLE holds 0 characters; "
            "set it to a password of 12 or more.",
        ),
    ],
)  # fmt: skip
def test_a_file_that_is_off_is_named_with_its_line(tmp_path: Path, text: str, sentence: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(UsersError) as wrong:
        read_users(path)
    assert str(wrong.value) == sentence.format(path=path)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsersError, match=r"nobody.csv: cannot be read .*; name a CSV file with the columns user, role"):
        read_users(tmp_path / "nobody.csv")

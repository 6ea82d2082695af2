"""The lifecycle: who configures, what is let go, and what a transition in mid-inference does."""

from __future__ import annotations

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed; the extra `ros` has it")

from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rig import HERE, OFTEN, PATIENCE_S, Rig, camera_image, stub_command, wait_for
from std_msgs.msg import String
from std_srvs.srv import Trigger

from ros2_pro.frames.diagnostics import ERROR

pytestmark = pytest.mark.flaky(reruns=1)  # a real graph: DDS may lose what is sent while its parts find each other

WEIGHTS_MB = 150
LEAK_MB = 20


class Manager(Rig):
    """A rig that changes the node's state as a lifecycle manager does."""

    def change(self, transition: int) -> bool:
        request = ChangeState.Request(transition=Transition(id=transition))
        return bool(self.call(ChangeState, "change_state", request).success)

    def state(self) -> int:
        return int(self.call(GetState, "get_state", GetState.Request(), again=True).current_state.id)

    def look(self) -> None:
        """Publish images until there is one more result."""
        before = len(self.received["relative_disparity"])

        def looked():
            self.image.publish(camera_image(stamp=self.stamp()))
            return wait_for(lambda: len(self.received["relative_disparity"]) > before, 1.0)

        assert wait_for(looked)


@pytest.fixture
def manager(namespace):
    made = Manager(namespace, ("relative_disparity",))
    yield made
    made.close()


def test_without_autostart_the_node_waits_unconfigured(start, namespace, manager):
    node = start(stub_command(namespace, autostart=False), OFTEN)
    assert manager.state() == State.PRIMARY_STATE_UNCONFIGURED
    report = manager.report()
    assert report["state"] == "unconfigured" and "not active" in manager.levels[-1][1]
    assert not node.events("load") and not manager.node.count_subscribers("image")
    for service in ("snapshot", "reload"):
        answer = manager.call(Trigger, service, Trigger.Request())
        assert not answer.success and "not active" in answer.message


def test_with_autostart_the_node_is_active_by_itself(start, namespace, manager):
    start(stub_command(namespace), OFTEN)
    assert wait_for(lambda: manager.state() == State.PRIMARY_STATE_ACTIVE)


def test_every_transition_does_what_it_says(start, namespace, manager):
    node = start(stub_command(namespace, autostart=False), OFTEN)
    for transition, state in (
        (Transition.TRANSITION_CONFIGURE, State.PRIMARY_STATE_INACTIVE),
        (Transition.TRANSITION_ACTIVATE, State.PRIMARY_STATE_ACTIVE),
        (Transition.TRANSITION_DEACTIVATE, State.PRIMARY_STATE_INACTIVE),
        (Transition.TRANSITION_CLEANUP, State.PRIMARY_STATE_UNCONFIGURED),
        (Transition.TRANSITION_UNCONFIGURED_SHUTDOWN, State.PRIMARY_STATE_FINALIZED),
    ):
        assert manager.change(transition) and manager.state() == state
        announced, listens = state in (2, 3), state == State.PRIMARY_STATE_ACTIVE
        assert wait_for(lambda a=announced: bool(manager.node.count_publishers("relative_disparity")) == a)
        assert wait_for(lambda a=listens: bool(manager.node.count_subscribers("image")) == a)
        if listens:
            manager.look()
    assert len(node.events("load")) == 1 and node.end() == 0


def test_two_full_cycles_let_everything_go(start, namespace, manager):
    node = start(stub_command(namespace, autostart=False), OFTEN)
    node.wish(weights_mb=WEIGHTS_MB)
    assert manager.state() == State.PRIMARY_STATE_UNCONFIGURED
    resident_mb = [node.resident_mb()]
    for _ in range(3):
        assert manager.change(Transition.TRANSITION_CONFIGURE)
        assert manager.change(Transition.TRANSITION_ACTIVATE)
        manager.look()
        loaded_mb = node.resident_mb()
        assert manager.change(Transition.TRANSITION_DEACTIVATE)
        assert manager.change(Transition.TRANSITION_CLEANUP)
        resident_mb.append(node.resident_mb())
        assert loaded_mb - resident_mb[-1] > WEIGHTS_MB - LEAK_MB
    print("MB when unconfigured, after each cycle:", [round(mb) for mb in resident_mb])
    assert resident_mb[3] - resident_mb[1] < LEAK_MB and resident_mb[1] - resident_mb[0] < 2 * LEAK_MB


def test_activated_again_the_node_listens_to_tf_once_and_not_at_all_in_between(start, namespace, manager):
    doubles = str(HERE / "doubles")  # of tf2_ros, which makes two subscriptions as the real one does
    start(stub_command(namespace, autostart=False), {**OFTEN, "PYTHONPATH": doubles})
    assert manager.change(Transition.TRANSITION_CONFIGURE)

    def listening():
        found = manager.node.get_subscriptions_info_by_topic("/tf")
        return sum(info.node_namespace == namespace for info in found)

    for _ in range(3):
        assert manager.change(Transition.TRANSITION_ACTIVATE) and wait_for(lambda: listening() == 1), listening()
        assert manager.change(Transition.TRANSITION_DEACTIVATE) and wait_for(lambda: listening() == 0), listening()


def test_a_managed_node_keeps_a_bond_while_it_is_active(start, namespace, manager):
    beats = []
    manager.node.create_subscription(String, "bond", lambda message: beats.append(message.data), 10)
    start(stub_command(namespace, autostart=False), {**OFTEN, "PYTHONPATH": str(HERE / "doubles")})  # of bondpy
    assert manager.change(Transition.TRANSITION_CONFIGURE)
    assert not manager.node.count_publishers("bond")
    for _ in range(2):
        beats.clear()
        assert manager.change(Transition.TRANSITION_ACTIVATE)
        assert wait_for(lambda: beats.count("pro") >= 5)
        assert manager.change(Transition.TRANSITION_DEACTIVATE)
        assert wait_for(lambda: beats[-1] == "pro broken") and wait_for(
            lambda: not manager.node.count_publishers("bond")
        )


def test_a_node_that_starts_by_itself_has_no_bond(start, namespace, manager):
    start(stub_command(namespace), {**OFTEN, "PYTHONPATH": str(HERE / "doubles")})
    manager.ready()
    assert not manager.node.count_publishers("bond")


def test_configure_and_activate_do_not_wait_for_the_model_and_images_meanwhile_are_counted(start, namespace, manager):
    node = start(stub_command(namespace, autostart=False), OFTEN)
    node.wish(load_hold=True)
    assert manager.change(Transition.TRANSITION_CONFIGURE) and manager.change(Transition.TRANSITION_ACTIVATE)
    manager.ready()
    for _ in range(3):
        manager.image.publish(camera_image(stamp=manager.stamp()))
        assert wait_for(lambda: manager.levels[-1][1] == "the model is being loaded")
    report = manager.report(lambda report: int(report["count loading"]) >= 1)
    assert report["frames received"] == report["count loading"] and len(node.events("load")) == 1
    answer = manager.call(Trigger, "reload", Trigger.Request())
    assert not answer.success and "still being loaded" in answer.message
    node.wish()
    manager.look()
    assert "Model stub is loaded on cpu" in node.text() and len(node.events("load")) == 1


def test_a_missing_model_fails_activate_and_the_node_lives_on(start, namespace, manager):
    node = start(stub_command(namespace, autostart=False, engine__model="missing"), OFTEN)
    assert manager.change(Transition.TRANSITION_CONFIGURE)
    assert wait_for(lambda: manager.counts()["load_failed"] == 1)
    assert not manager.change(Transition.TRANSITION_ACTIVATE)
    assert manager.state() == State.PRIMARY_STATE_INACTIVE
    assert wait_for(lambda: "Model missing cannot be loaded: The weights are missing" in node.text())
    assert "Traceback" not in node.text()
    assert manager.set(engine__model="compact")[0].successful
    assert manager.change(Transition.TRANSITION_ACTIVATE)
    manager.look()
    assert len(node.events("load")) == 2


def test_a_model_that_turns_out_missing_while_active_is_an_error_until_another_is_named(start, namespace, manager):
    node = start(stub_command(namespace, autostart=False, engine__model="missing"), OFTEN)
    node.wish(load_hold=True)
    assert manager.change(Transition.TRANSITION_CONFIGURE) and manager.change(Transition.TRANSITION_ACTIVATE)
    manager.ready()
    node.wish()
    assert wait_for(lambda: manager.levels[-1][0] == ERROR and "The weights are missing" in manager.levels[-1][1])
    manager.image.publish(camera_image(stamp=manager.stamp()))
    assert wait_for(lambda: manager.counts()["load_failed"] >= 2)
    assert len(node.events("load")) == 1  # not for every image
    assert manager.set(engine__model="compact")[0].successful
    manager.look()


def test_a_missing_model_ends_a_node_that_starts_by_itself(start, namespace):
    """What it says last is there, however long that takes."""
    node = start(stub_command(namespace, engine__model="missing"), {**OFTEN, "STUB_LOG_S": "2"})
    assert node.process.wait(PATIENCE_S) == 1
    assert "The weights are missing" in node.text() and "Traceback" not in node.text()


def test_lines_of_a_log_in_a_pipe_are_there_when_the_node_ends(start, namespace):
    node = start(stub_command(namespace, engine__model="missing"), {**OFTEN, "RCUTILS_LOGGING_USE_STDOUT": "1"})
    assert node.process.wait(PATIENCE_S) == 1
    assert "The weights are missing" in node.text()


def test_deactivating_in_mid_inference_answers_and_old_frames_are_not_published_later(start, namespace, manager):
    node = start(stub_command(namespace), OFTEN)
    manager.ready()
    manager.look()
    node.wish(hold=True)
    calls = len(node.events("infer"))
    old = manager.stamp()
    manager.image.publish(camera_image(stamp=old))
    assert wait_for(lambda: len(node.events("infer")) > calls)
    passed = len(node.events("passed"))
    assert manager.change(Transition.TRANSITION_DEACTIVATE)
    assert len(node.events("passed")) == passed, "the answer came after the pass"
    assert manager.change(Transition.TRANSITION_ACTIVATE)
    node.wish()
    manager.look()
    assert wait_for(lambda: len(node.events("passed")) >= passed + 2), "the old pass is not over"
    manager.look()
    assert old not in [message.header.stamp for message in manager.received["relative_disparity"]]
    assert "Traceback" not in node.text() and not manager.counts()["internal_error"]

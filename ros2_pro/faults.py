"""What can be wrong with a message or a frame: one name each, counted in diagnostics under that name.

A cause either drops the frame or only notes it; `DROPS` and `NOTES` say in a few words what each means.
"""

from __future__ import annotations

DROPS: dict[str, str] = {
    "bad_encoding": "the image's encoding is empty or unknown",
    "short_data": "the image has less data than its size says",
    "bad_step": "the image's rows are shorter than its width",
    "empty_image": "the image has no rows or no columns",
    "too_large": "the image is larger than any camera's",
    "too_small": "the image is smaller than the model can look at",
    "bad_compressed": "the compressed image cannot be decoded",
    "loading": "the model is still being loaded",
    "overrun": "a newer frame came before this one was looked at",
    "engine_error": "the model failed",
    "engine_memory": "the memory did not suffice for the model",
    "engine_output": "the model gave values that are not finite, or of another size",
    "internal_error": "a bug of this node",
}
NOTES: dict[str, str] = {
    "extra_data": "the image has more data than its size says; the rest was ignored",
    "padded_rows": "the image's rows are padded",
    "big_endian": "the image's numbers are big-endian",
    "nonfinite_input": "the image holds NaN or infinity; they were taken as black",
    "featureless": "the image is one even colour, so its depth means nothing",
    "size_changed": "the image's size changed",
    "encoding_changed": "the image's encoding changed",
    "no_camera_info": "there is no camera info for the image",
    "camera_info_late": "the newest camera info is of another time than the image",
    "camera_info_frame": "the camera info names another frame than the image",
    "bad_camera_info": "the camera info is not one of a camera",
    "camera_info_scaled": "the camera info is of another image size and was scaled",
    "camera_info_odd": "the camera info's centre or region of interest is outside its image",
    "unequal_focal": "the focal lengths differ by more than a tenth",
    "rectified_here": "the image is not rectified; it was, by P of its camera info, before the model saw it",
    "distorted": "the image is not rectified; points follow the bent rays, the depth image stays bent",
    "unknown_distortion": "the distortion model is unknown and was ignored",
    "other_geometry": "depth is wanted rectified and is not, or the other way round",
    "empty_frame_id": "the image names no frame",
    "time_jump": "the image's stamp is zero, of the future, or earlier than the one before",
    "no_image": "no image came since the node became active",
    "input_stalled": "no image came for a while",
    "several_publishers": "more than one camera publishes on the image topic",
    "resubscribed": "the subscription was made again to fit what the camera offers",
    "load_failed": "the model could not be loaded",
    "parameter_refused": "a set of parameters was refused",
    "publish_failed": "a message could not be published",
    "lost_best_effort": "a message is larger than the transport carries to a best-effort subscriber",
    "no_scale": "depth or points are wanted, but nothing gives metres",
    "no_baseline": "a disparity image is wanted, but its baseline is unknown or the image is not rectified",
    "scale_rejected": "a scale was fitted badly and not used",
    "scale_stale": "the source of the scale went silent",
    "unregistered_sensor": "the sensor's depth image is of another frame than the image, and was taken as registered",
    "no_ground": "the ground in view, or the camera's place above it, gives no scale",
    "bad_scale_source": "a message of the scale's source could not be used",
}
CAUSES = {**DROPS, **NOTES}
MISLEADING = frozenset(
    {
        "bad_scale_source", "camera_info_frame", "camera_info_odd", "several_publishers", "unknown_distortion",
        "unregistered_sensor",
    }
)  # fmt: skip
"""Notes on frames that are used, whose depth or points may be wrong for it."""


class MessageError(Exception):
    """A message that cannot be used. `cause` is a key of `CAUSES`; the text says what was found, and what to do."""

    def __init__(self, cause: str, text: str) -> None:
        super().__init__(text)
        assert cause in CAUSES, cause
        self.cause = cause

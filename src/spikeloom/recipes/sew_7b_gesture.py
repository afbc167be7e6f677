from spikeloom.core import bibliography
from spikeloom.train.run import Claim, Data, Network, Run, Training


def sew_7b_gesture() -> Run:
    """SEW 7B-Net (ADD) on DVS128 Gesture, 16 frames by event count. The authors train on 12 of the 16 frames, drawn in order."""
    return Run(
        recipe="sew-7b-gesture",
        title="SEW 7B-Net on DVS128 Gesture",
        paper=bibliography.SEW,
        claim=Claim("top-1, best epoch", 0.9792, "authors' training log (last epoch 96.88 %)", "L"),
        data=Data("dvs_gesture", frames="count"),
        network=Network("sew_7b", {"connect": "add", "block": "sew"}),
        steps=16,
        encoder="none",
        training=Training(epochs=192, batch=16, lr=1e-3, schedule="step", step_every=64),
        minutes=600,
        machine="one data-centre GPU",
    )

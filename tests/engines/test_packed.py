import numpy as np
import pytest

from hnmine.engines.packed import _can_pack, pack_linear, packs_linear
from hnmine.options import Backend, Dtype

torch = pytest.importorskip("torch")
needs_packing = pytest.mark.skipif(not _can_pack(), reason="this PyTorch has no oneDNN for this processor")


def packs(dtype, *, device="cpu", backend=Backend.TORCH, flags=("avx512_bf16",), vendor="AuthenticAMD"):
    return packs_linear(device, dtype, backend, cpu_flags=lambda: frozenset(flags), cpu_vendor=lambda: vendor)


@needs_packing
def test_what_is_packed_follows_from_the_machine_class():
    assert packs(Dtype.BF16)
    assert packs(Dtype.BF16, vendor="GenuineIntel", flags=("amx_bf16",))
    assert not packs(Dtype.BF16, flags=("avx2",))
    assert packs(Dtype.FP32)
    assert not packs(Dtype.FP32, vendor="GenuineIntel")
    assert not packs(Dtype.FP32, vendor="")
    assert not packs(Dtype.FP32, device="cuda:0")
    assert not packs(Dtype.FP32, backend=Backend.ONNX)


def layers(*, bias=True):
    torch.manual_seed(0)
    plain = torch.nn.Sequential(torch.nn.Linear(48, 96, bias=bias), torch.nn.Linear(96, 24))
    packed = torch.nn.Sequential(torch.nn.Linear(48, 96, bias=bias), torch.nn.Linear(96, 24))
    packed.load_state_dict(plain.state_dict())
    return plain, packed


@needs_packing
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(1, 48), (3, 7, 48), (0, 48), (130, 48)])
def test_fp32_layers_give_what_they_gave(bias, shape):
    plain, packed = layers(bias=bias)
    pack_linear(packed, Dtype.FP32)
    inputs = torch.randn(shape)
    with torch.inference_mode():
        found = packed(inputs)
        assert found.shape == (*shape[:-1], 24)
        np.testing.assert_allclose(found, plain(inputs), atol=1e-5)


@needs_packing
def test_packed_layers_do_run_packed(monkeypatch):
    _, packed = layers()
    calls = []
    plain = torch.nn.functional.linear
    monkeypatch.setattr(torch.nn.functional, "linear", lambda *given: calls.append(given) or plain(*given))
    pack_linear(packed, Dtype.FP32)
    with torch.inference_mode():
        packed(torch.randn(4, 48))
        assert calls == []
        packed(torch.empty(0, 48))
        assert len(calls) == 2
    assert packed(torch.randn(4, 48)).requires_grad  # whoever trains it gets gradients


@needs_packing
@pytest.mark.skipif(
    not packs_linear("cpu", Dtype.BF16, Backend.TORCH), reason="no bf16 instructions: oneDNN may have no kernel"
)
def test_bf16_layers_give_what_autocast_gives_and_fp32_outside_of_it():
    plain, packed = layers()
    pack_linear(packed, Dtype.BF16)
    inputs = torch.randn(64, 48)
    with torch.inference_mode():
        assert torch.equal(packed(inputs), plain(inputs))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found, expected = packed(inputs), plain(inputs)
        assert found.dtype is expected.dtype is torch.bfloat16
        # A unit in the last place of bf16 is 2**-7 of the value.
        np.testing.assert_allclose(found.float(), expected.float(), rtol=2**-6, atol=2**-8)

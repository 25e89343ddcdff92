"""Which releases of SGLang can be driven: their wheels, the files that run, and what of them a CPU can run."""

from dataclasses import dataclass

from nsa_core import ForwardMode

DECODE, VERIFY, EXTEND = ForwardMode.DECODE, ForwardMode.TARGET_VERIFY, ForwardMode.DRAFT_EXTEND
MODES = (DECODE, VERIFY, EXTEND)
LICENCE = "Apache-2.0"

PRECOMPUTE, FUSED_COPY = "SGLANG_NSA_ENABLE_MTP_PRECOMPUTE_METADATA", "SGLANG_USE_FUSED_METADATA_COPY"
PACKAGES = {
    "triton": "triton",
    "deep_gemm": "sgl-deep-gemm==0.1.5.post1",
    "tvm_ffi": "apache-tvm-ffi==0.1.11",
    "msgspec": "msgspec",
}  # import name: what pip installs; versions that were run together
_ATTENTION = "sglang.srt.layers.attention"
_NSA = ("sglang.srt.environ", f"{_ATTENTION}.nsa_backend", f"{_ATTENTION}.nsa.utils")
_PRECOMPUTING = (*_NSA, f"{_ATTENTION}.nsa.nsa_backend_mtp_precompute")
_FUSED_NSA = "sglang.jit_kernel.fused_metadata_copy"
_FUSED_DSA = "sglang.kernels.ops.attention.dsa.fused_metadata_copy"


@dataclass(frozen=True)
class Release:
    """One release.

    wheel, sha256: the very file that is fetched; the CPython in its name has nothing to do with the one that runs.
    design: what its refresh of the draft steps does.
    modules: those whose own code runs; all others it imports are stand-ins. With `.*`: and all below.
    sources: folders and files of the wheel that those compile.
    prefix: of its field names and attributes, "nsa" or "dsa"; it also tells how the backend is driven.
    spare_steps: `speculative_num_steps` less the draft backends it builds.
    flags: environment variables that choose between its designs.
    exact: it writes rows [:E] and columns [:L] and nothing else.
    schedule: its captured sets have DeepGEMM's paged-MQA schedule.
    cuda_only: modules that cannot be imported without CUDA.
    needs: packages it imports on a GPU, keys of `PACKAGES`; on a CPU of these only Triton.
    cpu_modes: what runs on a CPU. told_cuda: there, it is told that it runs on CUDA, so that it makes its schedule.
    fixed_width: its draft extend has no accept lengths.
    """

    version: str
    wheel: str
    sha256: str
    design: str
    modules: tuple[str, ...]
    sources: tuple[str, ...] = ()
    prefix: str = "nsa"
    spare_steps: int = 0
    flags: tuple[str, ...] = ()
    exact: bool = True
    schedule: bool = True
    cuda_only: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    cpu_modes: tuple[ForwardMode, ...] = MODES
    told_cuda: bool = True
    fixed_width: bool = False

    @property
    def name(self) -> str:
        return f"sglang=={self.version}"


_RELEASES = (
    Release(
        "0.5.6.post2",
        "sglang-0.5.6.post2-py3-none-any.whl",
        "cb542f7adeec56bbb5598443c52d0f347fab74dbb5df09d37cad69eaec780c54",
        "every step computes everything",
        _NSA,
        schedule=False,
        told_cuda=False,
    ),
    Release(
        "0.5.7",
        "sglang-0.5.7-py3-none-any.whl",
        "b77f9e5ca5a2ab19b3efba725958fc4de20ba97880e383738c695e8611b51100",
        "computed once, copied tensor by tensor",
        _PRECOMPUTING,
        flags=(PRECOMPUTE,),
        needs=("deep_gemm",),
    ),
    Release(
        "0.5.8",
        "sglang-0.5.8-py3-none-any.whl",
        "b7fbd890f6edd87f46c6e3ce72d592316af316f183c9bd999c3cc44b20fa2451",
        "computed once, copied tensor by tensor",
        _PRECOMPUTING,
        flags=(PRECOMPUTE,),
        needs=("triton", "deep_gemm"),
    ),
    Release(
        "0.5.9",
        "sglang-0.5.9-py3-none-any.whl",
        "8a936c4d25fea605f44254e533cff2144c73ceffbc1f8738aba393461bbb64d1",
        "computed once, copied by a CUDA kernel, to three sets at once",
        (*_PRECOMPUTING, "sglang.jit_kernel.utils", _FUSED_NSA),
        sources=("sglang/jit_kernel/csrc/elementwise/fused_metadata_copy.cuh", "sglang/jit_kernel/include/"),
        spare_steps=1,
        flags=(PRECOMPUTE, FUSED_COPY),
        cuda_only=(_FUSED_NSA,),
        needs=("triton", "deep_gemm", "tvm_ffi"),
    ),
    Release(
        "0.5.10.post1",
        "sglang-0.5.10.post1-py3-none-any.whl",
        "a854a68b11caf6b4b55c241a44378a7cdede7ede325db85c955f131506703bc6",
        "computed once, copied by a CUDA kernel, to three sets at once",
        (*_PRECOMPUTING, f"{_ATTENTION}.utils", "sglang.jit_kernel.utils", _FUSED_NSA),
        sources=("sglang/jit_kernel/csrc/elementwise/fused_metadata_copy.cuh", "sglang/jit_kernel/include/"),
        spare_steps=1,
        flags=(PRECOMPUTE, FUSED_COPY),
        cuda_only=(_FUSED_NSA,),
        needs=("triton", "deep_gemm", "tvm_ffi"),
        cpu_modes=(DECODE,),
    ),
    Release(
        "0.5.23",
        "sglang-0.5.23-cp311-cp311-manylinux_2_34_x86_64.whl",
        "00b3cd5b265ac76c64185fbb6b95424f324ddd9f428d0306b77bc9db9d859937",
        "computed once in one Triton launch, copied by a CUDA kernel to three sets at once, to the others one by one",
        (
            "sglang.srt.environ",
            f"{_ATTENTION}.dsa_backend",
            f"{_ATTENTION}.dsa.utils",
            f"{_ATTENTION}.dsa.dsa_backend_kpool",
            f"{_ATTENTION}.dsa.dsa_backend_mtp_precompute",
            f"{_ATTENTION}.dsa.dsa_metadata_manager",
            "sglang.kernels.ops.attention.dsa.metadata",
            "sglang.kernels.ops.attention.pad",
            "sglang.kernels.jit",
            "sglang.kernels.jit.utils.*",
            _FUSED_DSA,
        ),
        sources=("sglang/kernels/jit/csrc/elementwise/fused_metadata_copy.cuh", "sglang/kernels/jit/include/"),
        prefix="dsa",
        spare_steps=1,
        exact=False,
        cuda_only=(_FUSED_DSA,),
        needs=("triton", "deep_gemm", "tvm_ffi", "msgspec"),
        cpu_modes=(DECODE,),
        told_cuda=False,
        fixed_width=True,
    ),
)
RELEASES = {release.name: release for release in _RELEASES}


def release_named(name: str) -> Release:
    """The release `sglang==VERSION`; ValueError names those there are."""
    if name not in RELEASES:
        raise ValueError(f"release {name!r} is not known; choose one of {', '.join(RELEASES)}")
    return RELEASES[name]

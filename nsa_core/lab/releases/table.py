"""Which releases of SGLang can be driven: their wheels, the files that run, and what of them a CPU can run."""

from dataclasses import dataclass, replace

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


@dataclass(frozen=True)
class Release:
    """One release.

    sha256, tags: of the one wheel that is fetched, whichever CPython runs here: its files are sources.
    design: how its refresh brings all draft steps up to date.
    modules: those whose own code runs; all others it imports are stand-ins. With `.*`: and all below.
    kernel: of `modules`, the one that compiles its copies, and so cannot be imported without CUDA.
    cuda: the folder of the wheel whose sources that compiles.
    prefix: of its field names and attributes, "nsa" or "dsa"; it also tells how the backend is driven.
    spare_steps: `speculative_num_steps` less the draft backends it builds.
    flags: environment variables that choose between its designs.
    exact: it writes rows [:E] and columns [:L] and nothing else.
    schedule: its captured sets have DeepGEMM's paged-MQA schedule.
    needs: packages it imports on a GPU, keys of `PACKAGES`; on a CPU of these only Triton.
    cpu_modes: what runs on a CPU. told_cuda: there, it is told that it runs on CUDA, so that it makes its schedule.
    fixed_width: its draft extend has no accept lengths.
    """

    version: str
    sha256: str
    design: str
    modules: tuple[str, ...]
    tags: str = "py3-none-any"
    kernel: str | None = None
    cuda: str | None = None
    prefix: str = "nsa"
    spare_steps: int = 0
    flags: tuple[str, ...] = ()
    exact: bool = True
    schedule: bool = True
    needs: tuple[str, ...] = ("deep_gemm", "tvm_ffi")
    cpu_modes: tuple[ForwardMode, ...] = MODES
    told_cuda: bool = True
    fixed_width: bool = False

    @property
    def name(self) -> str:
        return f"sglang=={self.version}"

    @property
    def wheel(self) -> str:
        return f"sglang-{self.version}-{self.tags}.whl"

    @property
    def sources(self) -> tuple[str, ...]:
        """Folders and files of the wheel that its kernel is compiled from."""
        if self.cuda is None:
            return ()
        return f"{self.cuda}/csrc/elementwise/fused_metadata_copy.cuh", f"{self.cuda}/include/"


_ATTENTION, _OPS = "sglang.srt.layers.attention", "sglang.kernels.ops.attention"
_FUSED_NSA, _FUSED_DSA = "sglang.jit_kernel.fused_metadata_copy", f"{_OPS}.dsa.fused_metadata_copy"
_0_5_6 = Release(
    "0.5.6.post2",
    "cb542f7adeec56bbb5598443c52d0f347fab74dbb5df09d37cad69eaec780c54",
    "every step computes everything",
    ("sglang.srt.environ", f"{_ATTENTION}.nsa_backend", f"{_ATTENTION}.nsa.utils"),
    schedule=False,
    needs=(),
    told_cuda=False,
)
_0_5_7 = Release(
    "0.5.7",
    "b77f9e5ca5a2ab19b3efba725958fc4de20ba97880e383738c695e8611b51100",
    "computed once, copied tensor by tensor",
    (*_0_5_6.modules, f"{_ATTENTION}.nsa.nsa_backend_mtp_precompute"),
    flags=(PRECOMPUTE,),
)
_0_5_8 = replace(
    _0_5_7,
    version="0.5.8",
    sha256="b7fbd890f6edd87f46c6e3ce72d592316af316f183c9bd999c3cc44b20fa2451",
    needs=("triton", *_0_5_7.needs),
)
_0_5_9 = replace(
    _0_5_8,
    version="0.5.9",
    sha256="8a936c4d25fea605f44254e533cff2144c73ceffbc1f8738aba393461bbb64d1",
    design="computed once, copied by a CUDA kernel, to three sets at once",
    modules=(*_0_5_8.modules, "sglang.jit_kernel.utils", _FUSED_NSA),
    kernel=_FUSED_NSA,
    cuda="sglang/jit_kernel",
    spare_steps=1,
    flags=(PRECOMPUTE, FUSED_COPY),
)
_0_5_10 = replace(
    _0_5_9,
    version="0.5.10.post1",
    sha256="a854a68b11caf6b4b55c241a44378a7cdede7ede325db85c955f131506703bc6",
    modules=(*_0_5_9.modules, f"{_ATTENTION}.utils"),
    cpu_modes=(DECODE,),
)
_DSA = ("utils", "dsa_backend_kpool", "dsa_backend_mtp_precompute", "dsa_metadata_manager")
_0_5_23 = Release(
    "0.5.23",
    "00b3cd5b265ac76c64185fbb6b95424f324ddd9f428d0306b77bc9db9d859937",
    "computed once in one Triton launch, copied by a CUDA kernel to three sets at once, to the others one by one",
    (
        "sglang.srt.environ",
        f"{_ATTENTION}.dsa_backend",
        *(f"{_ATTENTION}.dsa.{name}" for name in _DSA),
        f"{_OPS}.dsa.metadata",
        f"{_OPS}.pad",
        "sglang.kernels.jit",
        "sglang.kernels.jit.utils.*",
        _FUSED_DSA,
    ),
    tags="cp311-cp311-manylinux_2_34_x86_64",
    kernel=_FUSED_DSA,
    cuda="sglang/kernels/jit",
    prefix="dsa",
    spare_steps=1,
    exact=False,
    needs=("triton", "deep_gemm", "tvm_ffi", "msgspec"),
    cpu_modes=(DECODE,),
    told_cuda=False,
    fixed_width=True,
)
RELEASES = {release.name: release for release in (_0_5_6, _0_5_7, _0_5_8, _0_5_9, _0_5_10, _0_5_23)}


def release_named(name: str) -> Release:
    """The release `sglang==VERSION`; ValueError names those there are."""
    if name not in RELEASES:
        raise ValueError(f"release {name!r} is not known; choose one of {', '.join(RELEASES)}")
    return RELEASES[name]

"""The served students: whether their bundles are whole, and run as they were published."""

from importlib.metadata import version

from doctor.finding import Finding
from model_store.errors import ModelStoreError
from model_store.manifest import Manifest
from model_store.registry import bundle_folder, served_names
from model_store.student import OnnxStudent
from service.settings import Settings


def served_students(settings: Settings) -> tuple[list[Manifest], list[Finding]]:
    """Manifests of those that are whole, and what there is to say of all."""
    findings = [_installed()]
    try:
        names = settings.models or served_names(settings.bundles, ())
    except ModelStoreError as error:
        wanted = "published students to serve"
        to_do = "winnow models list; WINNOW_MODELS and WINNOW_BUNDLES say which and where"
        return [], [*findings, Finding("students", "change", str(error), wanted, to_do)]
    manifests = []
    for name in names:
        check, wanted = f"bundle of {name}", "checksums, fingerprints and golden rows agree"
        try:
            folder = bundle_folder(settings.bundles, name)
            student = OnnxStudent.load(folder, precision=settings.precision)
        except ModelStoreError as error:
            to_do = f"copy or export it again, or go back: winnow models rollback {name}"
            findings.append(Finding(check, "change", str(error), wanted, to_do))
            continue
        manifests.append(student.manifest)
        findings.append(_whole(student, check, wanted))
    return manifests, findings


def _installed() -> Finding:
    parts = ", ".join(f"{name} {version(name)}" for name in ("onnxruntime", "redis", "uvicorn"))
    return Finding("versions", "fine", f"winnow {version('winnow-relevance')}, {parts}", "any")


def _whole(student: OnnxStudent, check: str, wanted: str) -> Finding:
    manifest = student.manifest
    ran = f"head {student.run['head']}"
    found = f"version {manifest.version}, format {manifest.format_version}, whole, {ran}"
    if manifest.graphs["head"].run == "native" and student.kernel_path is None:
        to_do = "install with a C compiler present, on a CPU with AVX2: it runs slower as it is"
        return Finding(check, "note", f"{found}, no fused head", wanted, to_do)
    return Finding(check, "fine", found, wanted)

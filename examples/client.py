"""Submits a job file to a learner and watches it to its end: `python3 client.py job.json [address]`.

The watch goes on where it was when the learner restarts: every event has a number. The exit code is 0 if the job
succeeded. Paths in the job file are the learner's, so they must be absolute.
"""
import pathlib
import sys
import time
import uuid

import grpc
from fulcrum.v1 import job_pb2, job_pb2_grpc

ADDRESS = "127.0.0.1:50051"


def submit(jobs, path):
    config = pathlib.Path(path).read_text(encoding="utf-8")
    # The same request_id twice is one job, so a call that is repeated after a broken connection does no harm.
    request = job_pb2.SubmitRequest(name=pathlib.Path(path).stem, config_json=config, request_id=str(uuid.uuid4()))
    return jobs.Submit(request, timeout=20, wait_for_ready=True)


def watch(jobs, job_id):
    next_number = 1
    while True:
        try:
            for event in jobs.Watch(job_pb2.WatchRequest(job_id=job_id, from_number=next_number)):
                next_number = event.number + 1
                print(f"{event.number:5} {event.level:5} {event.message}", flush=True)
            return
        except grpc.RpcError as error:
            if error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
                raise
            time.sleep(1)


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit("usage: client.py JOB.json [HOST:PORT]")
    jobs = job_pb2_grpc.JobServiceStub(grpc.insecure_channel(sys.argv[2] if len(sys.argv) == 3 else ADDRESS))
    try:
        job = submit(jobs, sys.argv[1])
        print(f"submitted {job.id}", flush=True)
        watch(jobs, job.id)
        job = jobs.Get(job_pb2.GetRequest(job_id=job.id), timeout=20)
    except grpc.RpcError as error:
        sys.exit(f"client: {error.code().name}: {error.details()}")
    print(f"{job.id}: {job_pb2.JobState.Name(job.state)} after {job.step} of {job.max_steps} steps {job.why}")
    sys.exit(job.state != job_pb2.JOB_STATE_SUCCEEDED)


if __name__ == "__main__":
    main()

"""Submits a job file to a learner and watches it to its end: `python3 client.py job.json [address]`.

The watch goes on where it was when the learner restarts: every event has a number.
"""
import sys
import time
import uuid

import grpc
from fulcrum.v1 import job_pb2, job_pb2_grpc


def watch(jobs, job_id):
    next_number = 1
    while True:
        try:
            for event in jobs.Watch(job_pb2.WatchRequest(job_id=job_id, from_number=next_number)):
                next_number = event.number + 1
                print(f"{event.number:5} {event.level:5} {event.message}")
            return
        except grpc.RpcError as error:
            if error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
                raise
            time.sleep(1)


def main():
    path, address = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "127.0.0.1:50051"
    jobs = job_pb2_grpc.JobServiceStub(grpc.insecure_channel(address))
    with open(path, encoding="utf-8") as file:
        request = job_pb2.SubmitRequest(name=path, config_json=file.read(), request_id=str(uuid.uuid4()))
    job = jobs.Submit(request, timeout=20)
    print(f"submitted {job.id}")
    watch(jobs, job.id)
    job = jobs.Get(job_pb2.GetRequest(job_id=job.id), timeout=20)
    print(f"{job.id}: {job_pb2.JobState.Name(job.state)} after {job.step} steps {job.why}")


if __name__ == "__main__":
    main()
